"""Agents' side of channels: what their tasks say, and what they want to hear."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from pydantic import BaseModel, ValidationError

from ayni.hub.accounts.tokens import site_caller
from ayni.hub.channels import find, read
from ayni.hub.channels.models import Channel, Listener, Message
from ayni.hub.channels.post import Letter, post
from ayni.hub.http import ProblemError, invalid, json_body, json_response
from ayni.hub.network import wake
from ayni.hub.network.models import Site
from ayni.hub.store import files, paths
from ayni.hub.store.declaration import Refused
from ayni.hub.store.models import File
from ayni.protocol.channels import (
    MAX_BODY,
    MAX_MESSAGES,
    BlobRequest,
    CharterRequest,
    Outgoing,
    PostRequest,
    ReadRequest,
    Want,
)

BODY = MAX_MESSAGES * (2 * MAX_BODY) + (1 << 20)
MAX_WAIT = 25.0  # seconds
_PAUSE = 0.05  # seconds between two looks: a burst of messages is looked at once
_LOOK = 2.0  # seconds: on SQLite, other processes wake nobody here
_MOST_OF_A_SITE = 4  # requests that wait at once: an agent has one
_SEEN_EVERY = timedelta(hours=1)

M = TypeVar("M", bound=BaseModel)


def posting(request: HttpRequest) -> HttpResponse:
    """For each message its number in its channel, or a problem of its own."""
    site = site_caller(request)
    messages = _parse(request, PostRequest).messages
    users = find.users(site, {m.attempt for m in messages})
    channels = find.of_users(users.values(), {m.channel for m in messages})
    outcomes: list[Letter | Refused] = []
    for message in messages:
        try:
            outcomes.append(_letter(message, site, users, channels))
        except Refused as refused:
            outcomes.append(refused)
    posted = iter(post([o for o in outcomes if isinstance(o, Letter)]))
    results: list[dict[str, object]] = []
    for outcome in outcomes:
        found = next(posted) if isinstance(outcome, Letter) else outcome
        if isinstance(found, Refused):
            results.append({"problem": _problem(found)})
        else:
            results.append({"sequence": found})
    return json_response({"results": results})


def _letter(
    message: Outgoing,
    site: Site,
    users: dict[str, find.User],
    channels: dict[tuple[int, str], Channel],
) -> Letter:
    user = users.get(message.attempt)
    if user is None:
        raise Refused("unknown_attempt", "no such attempt is live at this site")
    channel = channels.get((user.project, message.channel))
    if not user.sends(message.channel) or channel is None:
        raise Refused("not_a_channel", f"the task does not send on channel {message.channel}")
    _check_agent(site, channel)
    return Letter(
        channel=channel.pk,
        key=str(message.number),
        kind=message.kind,
        body=message.body,
        blob=message.blob,
        attempt=user.attempt,
        task=user.task,
        site=site.pk,
        signature=message.signature or "",
    )


# --- reading ----------------------------------------------------------------------------------


def reading(request: HttpRequest) -> HttpResponse:
    """What there is for each want; held while there is nothing, for `wait` seconds at most."""
    site = site_caller(request)
    asked = _parse(request, ReadRequest)
    ear = wake.Ear(wake.reader_key(site.pk))  # before looking
    _note_listener(site, asked.wants)
    answer = _look(site, asked.wants)
    wait = min(asked.wait, MAX_WAIT)
    if answer["messages"] or answer["problems"] or wait <= 0:
        return json_response(answer)
    with _seat(site.pk):
        deadline = time.monotonic() + wait
        while (left := deadline - time.monotonic()) > 0:
            if connection.vendor == "postgresql":
                connection.close()  # those who wait must not hold connections
                ear.wait(left)
            else:
                ear.wait(min(left, _LOOK))
            time.sleep(_PAUSE)
            answer = _look(site, asked.wants)
            if answer["messages"] or answer["problems"]:
                break
    return json_response(answer)


def _look(site: Site, wants: list[Want]) -> dict[str, list[object] | dict[str, object]]:
    users = find.users(site, {w.attempt for w in wants})
    channels = find.of_users(users.values(), {w.channel for w in wants})
    messages: list[object] = []
    problems: dict[str, object] = {}
    for want in wants:
        user = users.get(want.attempt)
        channel = channels.get((user.project, want.channel)) if user else None
        if user is None or channel is None or not user.reads(want.channel):
            refused = Refused("not_a_channel", f"the task does not read channel {want.channel}")
            problems[f"{want.attempt}/{want.channel}"] = _problem(refused)
            continue
        try:
            _check_agent(site, channel)
        except Refused as refused:
            problems[f"{want.attempt}/{want.channel}"] = _problem(refused)
            continue
        if channel.last <= want.after:
            continue
        left = MAX_MESSAGES - len(messages)
        if left <= 0:
            break
        for message in read.after(channel, want.after, left, but=user.task):
            messages.append(_incoming(message, want))
    return {"messages": messages, "problems": problems}


def _incoming(message: Message, want: Want) -> dict[str, object]:
    shown = read.card(message)
    shown["sent"] = shown.pop("created").timestamp()
    del shown["number"], shown["signature"]
    return {"attempt": want.attempt, "channel": want.channel, **shown}


def _note_listener(site: Site, wants: list[Want]) -> None:
    """So that whoever posts knows which sites to wake."""
    users = find.users(site, {w.attempt for w in wants})
    channels = {c.pk for c in find.of_users(users.values(), {w.channel for w in wants}).values()}
    now = timezone.now()
    fresh = Listener.objects.filter(
        site=site, channel__in=channels, seen__gt=now - _SEEN_EVERY
    ).values_list("channel_id", flat=True)
    if stale := channels - set(fresh):
        Listener.objects.bulk_create(
            [Listener(channel_id=pk, site=site, seen=now) for pk in sorted(stale)],
            update_conflicts=True,
            unique_fields=["channel", "site"],
            update_fields=["seen"],
        )


def charter(request: HttpRequest) -> HttpResponse:
    """The text of the charter of a channel that an attempt is to use."""
    site = site_caller(request)
    asked = _parse(request, CharterRequest)
    user = find.users(site, {asked.attempt}).get(asked.attempt)
    channel = (
        find.of_users([user], {asked.channel}).get((user.project, asked.channel)) if user else None
    )
    if user is None or asked.channel not in user.ways or channel is None or not channel.charter:
        raise ProblemError(404, "No such charter", "the task uses no channel of this name with one")
    return json_response({"text": channel.charter})


def blob(request: HttpRequest) -> HttpResponse:
    """Where the blocks of a message's blob are: signed URLs, good for an hour."""
    site = site_caller(request)
    asked = _parse(request, BlobRequest)
    user = find.users(site, {asked.attempt}).get(asked.attempt)
    if user is None or not user.reads(asked.channel):
        raise ProblemError(404, "No such blob", "the task does not read this channel")
    message = Message.objects.filter(
        channel__project=user.project, channel__name=asked.channel, sequence=asked.sequence
    ).first()
    path = paths.blob_path(asked.channel, message.blob_sha256) if message else ""
    file = File.objects.filter(project=user.project, path=path).select_related("upload").first()
    if file is None:
        raise ProblemError(404, "No such blob", "the message has none, or it is past its retention")
    [found] = files.manifests([file])
    return json_response(found)


def _check_agent(site: Site, channel: Channel) -> None:
    """An agent that knows no charters would let tasks begin that nobody accepted.

    Raises:
        Refused: it is such a one.
    """
    if channel.charter and (site.status or {}).get("charters") is None:
        raise Refused(
            "charter",
            f"channel {channel.name} has a charter, which this site's agent does not know of; its "
            "operator should update it",
            retryable=True,
        )


# --- shared -----------------------------------------------------------------------------------


_lock = threading.Lock()
_waiting: Counter[int] = Counter()


@contextmanager
def _seat(site: int) -> Iterator[None]:
    """A site holds only so many threads."""
    with _lock:
        if _waiting[site] >= _MOST_OF_A_SITE:
            raise ProblemError(
                429, "Too many wait", "ask again in 5 s", headers={"Retry-After": "5"}
            )
        _waiting[site] += 1
    try:
        yield
    finally:
        with _lock:
            _waiting[site] -= 1


def _parse(request: HttpRequest, model: type[M]) -> M:
    try:
        return model.model_validate_json(json_body(request, BODY))
    except ValidationError as error:
        raise invalid(error) from error


def _problem(refused: Refused) -> dict[str, object]:
    return {"code": refused.code, "message": str(refused), "retryable": refused.retryable}
