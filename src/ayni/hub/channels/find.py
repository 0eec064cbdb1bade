"""Which channels there are, and which attempts may use them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from ayni.hub.calls.models import Project
from ayni.hub.channels.models import Channel
from ayni.hub.network.models import Site
from ayni.hub.tasks import ids
from ayni.hub.tasks.models import Attempt
from ayni.protocol.channels import ChannelUse
from ayni.tes.shape import ChannelWay, channel_ways


def missing(project: Project, names: Collection[str]) -> list[str]:
    """Those of the names that the project has no channel of."""
    if not names:
        return []
    known = set(
        Channel.objects.filter(project=project, name__in=names).values_list("name", flat=True)
    )
    return [name for name in names if name not in known]


def uses(project: int, channels: Iterable[str]) -> list[ChannelUse]:
    """What a site is told of the channels in a shape. One that was deleted meanwhile is left out."""
    ways = {way.name: way for way in channel_ways(channels)}
    if not ways:
        return []
    found = Channel.objects.filter(project=project, name__in=ways).order_by("name")
    return [
        ChannelUse(
            name=c.name,
            rules=c.rules,
            sends=ways[c.name].sends,
            reads=ways[c.name].reads,
            charter=c.charter_digest,
        )
        for c in found
    ]


@dataclass(frozen=True, slots=True)
class User:
    """A live attempt and the channels that its task may use."""

    attempt: int
    task: int
    project: int
    ways: Mapping[str, ChannelWay]

    def sends(self, channel: str) -> bool:
        return channel in self.ways and self.ways[channel].sends

    def reads(self, channel: str) -> bool:
        return channel in self.ways and self.ways[channel].reads


def users(site: Site, names: Collection[str]) -> dict[str, User]:
    """Those of the named attempts that run at this site and that the hub has not given up."""
    numbers = {number: name for name in names if (number := ids.read(name)) is not None}
    rows = Attempt.objects.filter(
        pk__in=numbers, site=site, live=True, superseded=False
    ).values_list("pk", "task_id", "task__project_id", "task__group__shape")
    return {
        numbers[pk]: User(
            pk, task, project, {w.name: w for w in channel_ways(shape.get("channels") or ())}
        )
        for pk, task, project, shape in rows
    }


def of_users(users: Iterable[User], names: Collection[str]) -> dict[tuple[int, str], Channel]:
    """The channels of these names in the users' projects: (project, name) → channel."""
    projects = {user.project for user in users}
    found = Channel.objects.filter(project__in=projects, name__in=set(names))
    return {(c.project_id, c.name): c for c in found}
