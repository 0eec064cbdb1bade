"""What a site's requests may hold: the fields of the protocol and no other. See `recorder`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel

from ayni.protocol import channels
from ayni.protocol.messages import SyncRequest
from tests.network.recorder import Sent

#: What the agent posts as the protocol's own models.
MODELS: dict[str, type[BaseModel]] = {
    "/agent/v1/sync": SyncRequest,
    "/agent/v1/channels/post": channels.PostRequest,
    "/agent/v1/channels/read": channels.ReadRequest,
    "/agent/v1/channels/blob": channels.BlobRequest,
    "/agent/v1/channels/charter": channels.CharterRequest,
}
#: And what it asks for files: the list's name, and the fields of each of its questions.
LISTS: dict[str, tuple[str, set[str]]] = {
    "/agent/v1/inputs": ("requests", {"attempt", "url", "type"}),
    "/agent/v1/uploads": (
        "uploads",
        {"attempt", "url", "size", "sha256", "block_size", "blocks"},
    ),
}
#: What it says once, to register.
REGISTER = {"code", "version", "host", "incarnation"}
#: Headers, and what may stand in them.
HEADERS = {
    "host": r"127\.0\.0\.1:\d+",
    "accept": r"\*/\*",
    "accept-encoding": r"[a-z, ]+|identity",
    "connection": "keep-alive",
    "user-agent": r"ayni|ayni-agent/[0-9.]+",
    "authorization": r"Bearer [A-Za-z0-9_-]{20,100}",
    "content-type": r"application/json|application/octet-stream",
    "content-encoding": "gzip",
    "content-length": r"\d+",
    "range": r"bytes=\d+-\d*",
}
#: A block of the store, by the hub's signed URL.
BLOCK = re.compile(r"/[A-Za-z0-9/_.-]+\?[A-Za-z0-9_=&%.-]+")


def unlisted(sent: Iterable[Sent]) -> list[str]:
    """Of some requests, all that is no field of the protocol."""
    return [fault for one in sent for fault in (*_headers(one), *_body(one))]


def posted(sent: Iterable[Sent]) -> list[dict[str, Any]]:
    """The messages on channels."""
    return [
        message
        for one in sent
        if one.path == "/agent/v1/channels/post"
        for message in json.loads(one.body)["messages"]
    ]


def reports(sent: Iterable[Sent]) -> list[dict[str, Any]]:
    """What was reported of attempts."""
    return [
        report
        for one in sent
        if one.path == "/agent/v1/sync"
        for report in json.loads(one.body).get("reports", ())
    ]


def _headers(one: Sent) -> Iterable[str]:
    for line in one.headers.splitlines():
        name, _, value = line.partition(": ")
        if line and not re.fullmatch(HEADERS.get(name.lower(), "(?!)"), value):
            yield f"{one.method} {one.path}: header {line!r}"


def _body(one: Sent) -> Iterable[str]:
    where = f"{one.method} {one.path}"
    if one.method == "POST" and one.path in MODELS:
        said = json.loads(one.body)
        known = MODELS[one.path].model_validate(said).model_dump(mode="json", exclude_unset=True)
        if known != said:
            yield f"{where}: {_difference(said, known)}"
    elif one.method == "POST" and one.path in LISTS:
        name, fields = LISTS[one.path]
        said = json.loads(one.body)
        if said.keys() != {name} or any(each.keys() != fields for each in said[name]):
            yield f"{where}: {one.body[:500]!r}"
    elif (one.method, one.path) == ("POST", "/agent/v1/register"):
        if more := json.loads(one.body).keys() - REGISTER:
            yield f"{where}: {more}"
    elif one.method not in ("GET", "PUT") or not BLOCK.fullmatch(one.path):
        yield f"{where}: nothing of the protocol"
    elif one.method == "GET" and one.body:
        yield f"{where}: has a body"


def _difference(said: Any, known: Any, at: str = "") -> str:
    """Where what was said is more than what is known."""
    if isinstance(said, dict) and isinstance(known, dict):
        for key, value in said.items():
            if key not in known:
                return f"{at}.{key} is no field"
            if value != known[key]:
                return _difference(value, known[key], f"{at}.{key}")
    if isinstance(said, list) and isinstance(known, list) and len(said) == len(known):
        for n, (one, other) in enumerate(zip(said, known, strict=True)):
            if one != other:
                return _difference(one, other, f"{at}[{n}]")
    return f"{at}: {said!r} is read as {known!r}"
