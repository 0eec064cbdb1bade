"""Putting messages into channels: checked by the schema, numbered, each once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Sum
from django.utils import timezone

from ayni.hub.channels.models import Channel, Listener, Message
from ayni.hub.network import wake
from ayni.hub.store import keys, paths
from ayni.hub.store.commit import commit
from ayni.hub.store.declaration import Refused
from ayni.hub.store.models import Upload
from ayni.protocol.channels import Blob, Unfit, canonical, cost, digest

#: A site sends at the pace that its own clock allows; this much of it passes here.
LEEWAY = 2


@dataclass(frozen=True, slots=True)
class Letter:
    """A message before it is posted: of an attempt (with task and site), or of a person."""

    channel: int
    key: str
    kind: str
    body: dict[str, Any]
    blob: Blob | None = None
    attempt: int | None = None
    task: int | None = None
    site: int | None = None
    signature: str = ""
    person: int | None = None

    @property
    def sender(self) -> str:
        return f"p{self.person}" if self.attempt is None else f"a{self.attempt}"

    @property
    def digest(self) -> str:
        return digest(self.kind, self.body, self.blob.sha256 if self.blob else None)


Outcome = int | Refused


def post(letters: Sequence[Letter]) -> list[Outcome]:
    """For each letter, in order, its number in its channel or why it is refused. One transaction.

    What was posted before has the number that it has.
    """
    with transaction.atomic():
        wanted = {letter.channel for letter in letters}
        rows = Channel.objects.select_for_update().filter(pk__in=wanted).order_by("pk")
        channels = {channel.pk: channel for channel in rows}
        before = {pk: channel.last for pk, channel in channels.items()}
        now = timezone.now()
        outcomes = [_post(letter, channels.get(letter.channel), now) for letter in letters]
        for pk, channel in channels.items():
            if channel.last != before[pk]:
                Channel.objects.filter(pk=pk).update(last=channel.last)
                listening = Listener.objects.filter(channel=pk).values_list("site_id", flat=True)
                wake.channels(channel.project_id, list(listening))
    return outcomes


def _post(letter: Letter, channel: Channel | None, now: datetime) -> Outcome:
    if channel is None:
        return Refused("no_such_channel", "the channel was deleted", status=404)
    known = Message.objects.filter(channel=channel, sender=letter.sender, key=letter.key)
    if (old := known.values_list("sequence", "digest").first()) is not None:
        if old[1] != letter.digest:
            return Refused("conflict", f"message {letter.key[:64]} was sent before, and is another")
        return int(old[0])
    try:
        return _insert(letter, channel, now)
    except Refused as refused:
        return refused


def _insert(letter: Letter, channel: Channel, now: datetime) -> int:
    """
    Raises:
        Refused: the schema does not allow it, or its blob is not in the store.
    """
    blob = letter.blob
    try:
        body = channel.rules.check(letter.kind, letter.body, blob.size if blob else None)
    except Unfit as unfit:
        raise Refused(unfit.code, str(unfit), status=400) from unfit
    size = cost(letter.kind, body, blob.size if blob else None)
    _within_limits(letter, channel, size, now)
    if blob is not None:
        expires = now + timedelta(days=channel.retention)
        commit(_upload(letter, blob, channel), expires=expires)
    channel.last += 1
    Message.objects.create(
        channel=channel,
        sequence=channel.last,
        sender=letter.sender,
        key=letter.key,
        site_id=letter.site,
        task=letter.task,
        attempt=letter.attempt,
        person_id=letter.person,
        kind=letter.kind,
        body=canonical(body).decode(),
        blob_size=blob.size if blob else None,
        blob_sha256=blob.sha256 if blob else "",
        digest=letter.digest,
        signature=letter.signature,
        size=size,
        created=now,
    )
    return channel.last


def _within_limits(letter: Letter, channel: Channel, size: int, now: datetime) -> None:
    rules = channel.rules
    most = rules.rate if letter.task is None else LEEWAY * rules.rate
    before = Message.objects.filter(channel=channel, sender=letter.sender).order_by("-sequence")
    at = before.values_list("created", flat=True)[most - 1 : most].first()
    if at is not None and (now - at).total_seconds() < 60:
        raise Refused(
            "rate",
            f"channel {channel.name} takes {rules.rate} messages a minute of one sender; wait",
            status=429,
            retryable=True,
        )
    if letter.task is None:
        return
    sent = Message.objects.filter(channel=channel, task=letter.task)
    total = sent.aggregate(total=Sum("size"))["total"] or 0
    if total + size > rules.max_bytes:
        raise Refused(
            "size",
            f"channel {channel.name} takes {rules.max_bytes} bytes of one task in all",
            status=413,
        )


def _upload(letter: Letter, blob: Blob, channel: Channel) -> Upload:
    """The upload that a letter names, if it is the sender's, whole and that blob."""
    found = None
    if blob.upload is not None and keys.is_upload(blob.upload):
        found = Upload.objects.filter(
            pk=blob.upload, project=channel.project_id, attempt=letter.attempt
        ).first()
    wanted = paths.blob_path(channel.name, blob.sha256)
    if found is None or found.dead or not found.verified:
        raise Refused("upload", "the blob is not in the store; send it again", retryable=True)
    if (found.path, found.sha256, found.size) != (wanted, blob.sha256, blob.size):
        raise Refused("upload", "the upload holds something else than the message says")
    return found
