"""Charters of the channels that waiting tasks use, and what sites' operators said of them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from ayni.hub.channels.models import Channel
from ayni.protocol import charters
from ayni.protocol.charters import CharterStatus
from ayni.tes.shape import Shape, channel_ways

Wanted = Mapping[str, str]  # of a group: the charters' digests, by channel


@dataclass
class Charters:
    """Looks them up. A channel's charter never changes, so its digest is made once."""

    _digests: dict[int, str] = field(default_factory=dict)  # by the channel's row

    def wanted(self, shapes: Collection[tuple[int, Shape]]) -> dict[tuple[int, Shape], Wanted]:
        """For each project and shape the charters that its tasks need; without those that need none."""
        names = {pair: {way.name for way in channel_ways(pair[1].channels)} for pair in shapes}
        if not any(names.values()):
            return {}
        rows = Channel.objects.exclude(charter="").filter(
            project__in={project for project, _ in names},
            name__in=set().union(*names.values()),
        )
        found = list(rows.values_list("pk", "project_id", "name"))
        self._learn(pk for pk, _, _ in found)
        of_project: dict[int, dict[str, str]] = {}
        for pk, project, name in found:
            of_project.setdefault(project, {})[name] = self._digests[pk]
        needed = {
            pair: {name: of_project[pair[0]][name] for name in sorted(used & known.keys())}
            for pair, used in names.items()
            if (known := of_project.get(pair[0], {}))
        }
        return {pair: one for pair, one in needed.items() if one}

    def _learn(self, channels: Iterable[int]) -> None:
        new = [pk for pk in channels if pk not in self._digests]
        texts = Channel.objects.filter(pk__in=new).values_list("pk", "charter") if new else ()
        self._digests |= {pk: charters.digest(text) for pk, text in texts}


def awaited(
    told: Iterable[tuple[str, Collection[CharterStatus] | None]], project: str, wanted: Wanted
) -> dict[str, str]:
    """The sites whose operators have yet to accept a charter, each with its channel."""
    found = {site: charters.unaccepted(said, project, wanted) for site, said in told}
    return {site: channel for site, channel in found.items() if channel is not None}
