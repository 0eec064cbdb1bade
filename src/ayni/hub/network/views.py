"""The agents' endpoints: `POST /agent/v1/register` and `POST /agent/v1/sync`."""

from __future__ import annotations

import logging
import threading
import time
import zlib
from contextlib import nullcontext
from typing import Any, TypeVar

from django.db import OperationalError, connection, transaction
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ayni.hub.accounts.tokens import digest, issue_site_token
from ayni.hub.http import ProblemError, invalid, json_body, json_response, methods
from ayni.hub.network import hub, peer, talk, wake
from ayni.hub.network.models import Site
from ayni.hub.tasks import dispatch
from ayni.hub.tasks.models import Attempt
from ayni.protocol.messages import MAX_BODY, MAX_PLAIN, MAX_WAIT, SyncReply, SyncRequest
from ayni.protocol.policy import Reason

log = logging.getLogger(__name__)

_LARGE = 1 << 20  # bytes
_FAULTS = 1000  # of a body, beyond which they are not told one by one
_TRIES = 4  # of a transaction that another one broke
_LOOK = 2.0  # seconds: on SQLite the operator's commands, other processes, wake nobody here
_KEEP_CONNECTION = 0.5  # seconds for which a waiting request keeps its connection to PostgreSQL

M = TypeVar("M", bound=BaseModel)


# --- register ---------------------------------------------------------------------------------


class Registration(BaseModel):
    """`incarnation` names the agent's journal; a site that keeps its journal keeps its attempts."""

    model_config = ConfigDict(extra="ignore")
    code: str = Field(min_length=1, max_length=200)
    incarnation: str | None = Field(default=None, min_length=1, max_length=64)


REGISTERED_ANEW = Reason(
    code="registered-anew", message="the site was registered again, with a new journal"
)


def _register(request: HttpRequest) -> HttpResponse:
    """A one-time code for a site's key. The site's earlier key and journal are void."""
    wanted = _parse(request, Registration, limit=1 << 16)
    with transaction.atomic():
        sites = Site.objects.select_for_update()
        site = sites.filter(
            code_digest=digest(wanted.code), code_expires__gt=timezone.now()
        ).first()
        if site is None:
            raise ProblemError(
                401,
                "The code is not valid",
                "it was used, has expired or was mistyped; ask the hub's operator for a new one "
                "('ayni hub site code')",
            )
        if site.banned_at is not None:
            raise ProblemError(403, "Banned", f"site {site.name} is banned: {site.banned_why}")
        if site.incarnation is not None and site.incarnation != wanted.incarnation:
            live = Attempt.objects.filter(site=site, live=True).values_list("id", flat=True)
            dispatch.give_up(list(live), REGISTERED_ANEW, kill=False)
            Attempt.objects.filter(site=site, cancel=True).update(cancel=False)
            site.incarnation, site.generation, site.session = None, 0, ""
            site.number = site.acknowledged = 0
        site.code_digest, site.code_expires = "", None
        site.save()
        token = issue_site_token(site)
    return json_response({"site": site.name, "token": token, "hub": "Ayni", "epoch": hub.epoch()})


# --- sync -------------------------------------------------------------------------------------


def _sync(request: HttpRequest) -> HttpResponse:
    """One exchange; held open, outside of any transaction, while there is nothing to say."""
    site = peer.site_of(request)
    asked = _parse(request, SyncRequest, limit=MAX_BODY)
    ear = wake.Ear(wake.site_key(site))
    answer = _again(lambda: talk.sync(site, asked))
    wake.site(site)  # an older request of this site that is still held may go: see look_again
    wait = min(max(asked.wait, 0.0), MAX_WAIT, answer.hold)
    reply = _held(site, asked, answer.reply, ear, wait) if wait > 0 else answer.reply
    return HttpResponse(reply.model_dump_json(), content_type="application/json")


def _held(
    site_id: int, asked: SyncRequest, reply: SyncReply, ear: wake.Ear, wait: float
) -> SyncReply:
    end = time.monotonic() + wait
    patience = wait if connection.vendor == "postgresql" else _LOOK
    while (left := end - time.monotonic()) > 0:
        if not _listen(ear, min(left, patience)) and left <= patience:
            break
        if (news := talk.look_again(site_id, asked, reply)) is not None:
            return news
    return reply


def _listen(ear: wake.Ear, seconds: float) -> bool:
    if connection.vendor != "postgresql" or seconds <= _KEEP_CONNECTION:
        return ear.wait(seconds)
    if ear.wait(_KEEP_CONNECTION):
        return True
    connection.close()  # a hundred waiting sites must not hold a hundred connections
    return ear.wait(seconds - _KEEP_CONNECTION)


def _again(work: Any) -> Any:
    """Run a transaction; again if the database broke it for the sake of another (deadlock)."""
    for n in range(1, _TRIES):
        try:
            return work()
        except OperationalError as error:
            log.warning("a sync is tried again: %s", error)
            time.sleep(0.05 * n)
    return work()


# --- bodies -----------------------------------------------------------------------------------


#: Held for a body that is large, or may be: parsed it takes some hundred MiB if it means ill.
_one_large = threading.Lock()


def _parse(request: HttpRequest, kind: type[M], limit: int) -> M:
    body = json_body(request, limit)
    packed = request.headers.get("Content-Encoding", "").lower() == "gzip"
    with _one_large if packed or len(body) > _LARGE else nullcontext():
        return _read(_unpack(body) if packed else body, kind)


def _read(body: bytes, kind: type[M]) -> M:
    if b"\\u0000" in body:  # no database takes a NUL in text
        body = body.replace(b"\\u0000", b"\\ufffd")
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        if error.error_count() > _FAULTS:  # to name them all would take a GiB
            raise ProblemError(400, "The request is not valid", "it has too many faults") from None
        raise invalid(error) from error


def _unpack(body: bytes) -> bytes:
    """The plain bytes of a gzip body, never more than MAX_PLAIN."""
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)
    try:
        plain = unpacker.decompress(body, MAX_PLAIN)
    except zlib.error as error:
        raise ProblemError(400, "Not gzip", f"the body cannot be unpacked: {error}") from error
    if unpacker.unconsumed_tail:
        raise ProblemError(413, "Too much", f"the body unpacks to more than {MAX_PLAIN} bytes")
    return plain


register = methods(POST=_register)
sync = methods(POST=_sync)
