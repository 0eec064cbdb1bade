"""Making channels, and forgetting what they held."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import F

from ayni.hub.accounts.models import Person
from ayni.hub.calls.models import Project
from ayni.hub.channels.models import Channel, Listener, Message
from ayni.hub.store import files, paths
from ayni.hub.store.declaration import Refused
from ayni.protocol.channels import Schema

MOST = 1000  # channels of a project
SKIP = 1_000_000  # messages that may have been lost with what came after a backup
STALE = timedelta(days=1)  # of a listener that is not heard any more
_AT_ONCE = 5000  # messages


def make(
    project: Project, person: Person, name: str, rules: Schema, retention: int, charter: str = ""
) -> Channel:
    """A new channel, or the one that is there and is the same.

    Raises:
        Refused: there is one of this name with another schema, retention or charter, or there are too many.
    """
    document: dict[str, Any] = rules.model_dump(mode="json")
    given = {"schema": document, "retention": retention, "charter": charter}
    if (known := Channel.objects.filter(project=project, name=name).first()) is not None:
        return _the_same(known, given)
    if Channel.objects.filter(project=project).count() >= MOST:
        raise Refused("many", f"project {project.name} has {MOST} channels; delete one first")
    try:
        with transaction.atomic():
            return Channel.objects.create(project=project, person=person, name=name, **given)
    except IntegrityError:  # somebody made it at the same moment
        return _the_same(Channel.objects.get(project=project, name=name), given)


def _the_same(known: Channel, given: Mapping[str, Any]) -> Channel:
    others = [what for what, value in given.items() if getattr(known, what) != value]
    if others:
        raise Refused(
            "taken",
            f"channel {known.name} is there with another {others[0]}, which is never changed; take "
            "another name, or delete it with all its messages",
        )
    return known


def delete(channel: Channel) -> None:
    """The channel with its messages and their blobs."""
    with transaction.atomic():
        folder = f"{paths.CHANNELS}/{channel.name}"
        files.delete(channel.project, files.beneath(channel.project, folder))
        channel.delete()


def skip_numbers() -> None:
    """After a backup was restored: numbers that readers may have heard already are not given again."""
    Channel.objects.update(last=F("last") + SKIP)


def forget_old(now: datetime) -> int:
    """Delete messages past their channel's retention; how many. Their blobs expire by themselves."""
    gone = 0
    for pk, days in Channel.objects.values_list("pk", "retention"):
        old = Message.objects.filter(channel=pk, created__lt=now - timedelta(days=days))
        first = list(old.order_by("sequence").values_list("pk", flat=True)[:_AT_ONCE])
        if first:
            gone += Message.objects.filter(pk__in=first).delete()[0]
    Listener.objects.filter(seen__lt=now - STALE).delete()
    return gone
