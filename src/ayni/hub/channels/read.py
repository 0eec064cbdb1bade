"""Reading channels: what comes after a number."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from ayni.hub.channels.models import Channel, Message
from ayni.hub.network.models import Site
from ayni.hub.tasks import ids
from ayni.protocol.channels import MAX_MESSAGES

MAX_TEXT = 4 << 20  # bytes of bodies in one answer


def after(
    channel: Channel, sequence: int, limit: int = MAX_MESSAGES, *, but: int | None = None
) -> list[Message]:
    """The messages after a number, in order, as many as one answer holds; without those of task `but`."""
    rows = Message.objects.filter(channel=channel, sequence__gt=sequence).order_by("sequence")
    if but is not None:
        rows = rows.exclude(task=but)
    found: list[Message] = []
    size = 0
    for message in rows.select_related("site", "person")[:limit]:
        size += len(message.body)
        if found and size > MAX_TEXT:
            break
        found.append(message)
    return found


def card(message: Message) -> dict[str, Any]:
    """A message as people's programs see it."""
    return {
        "sequence": message.sequence,
        "kind": message.kind,
        "body": json.loads(message.body),
        "blob": blob(message),
        "sender": sender(message),
        "created": message.created,
        "number": None if message.attempt is None else int(message.key),
        "signature": message.signature or None,
    }


def cards(messages: Iterable[Message]) -> list[dict[str, Any]]:
    return [card(message) for message in messages]


def answers(channel: Channel) -> list[dict[str, Any]]:
    """What sites' operators said of a channel's charter, by the sites' names; none: there is no charter."""
    if not channel.charter:
        return []
    wanted = channel.project.name, channel.charter_digest
    told = Site.objects.filter(status__charters__isnull=False).order_by("name")
    return [
        {
            "site": site,
            "state": one["state"],
            "at": datetime.fromtimestamp(one["at"], UTC),
            "why": one["why"],
        }
        for site, found in told.values_list("name", "status__charters")
        for one in found or ()
        if (one["project"], one["digest"]) == wanted
    ]


def blob(message: Message) -> dict[str, Any] | None:
    if message.blob_size is None:
        return None
    return {"size": message.blob_size, "sha256": message.blob_sha256}


def sender(message: Message) -> dict[str, str | None]:
    return {
        "site": message.site.name if message.site else None,
        "task": None if message.task is None else ids.show(message.task),
        "attempt": None if message.attempt is None else ids.show(message.attempt),
        "person": message.person.email if message.person else None,
    }
