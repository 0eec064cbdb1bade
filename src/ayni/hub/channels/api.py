"""A project's channels over our own API."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from django.http import HttpRequest
from ninja import Query, Router, Schema, Status
from pydantic import ConfigDict, Field

from ayni.hub.accounts.tokens import Caller, caller
from ayni.hub.channels import keep, read
from ayni.hub.channels.models import Channel
from ayni.hub.channels.post import Letter, post
from ayni.hub.http import ProblemError, field_problem
from ayni.hub.network import wake
from ayni.hub.store import paths, uploads
from ayni.hub.store.api import UploadOut
from ayni.hub.store.declaration import Blocks, Declaration, Refused
from ayni.hub.tasks.waiting import look_until
from ayni.protocol import charters
from ayni.protocol.channels import Blob, ChannelName, KindName, Sha256, read_schema

router = Router(tags=["channels"])

MAX_WAIT = 25.0  # seconds


class Asked(Schema):
    model_config = ConfigDict(extra="forbid")


class ChannelIn(Asked):
    name: ChannelName
    # The document of docs/users/channels.md.
    rules: dict[str, Any] = Field(alias="schema")
    retention: Annotated[int, Field(ge=1, le=365)] = 30  # days
    # Plain text or Markdown that each site's operator must accept before a task uses the channel there.
    charter: Annotated[str, Field(max_length=charters.MAX_TEXT)] = ""


class AnswerOut(Schema):
    """What a site's operator said of the charter; `asked`: nothing yet."""

    site: str
    state: str
    at: datetime
    why: str


class ChannelOut(Schema):
    """`schema` is the document of docs/users/channels.md, `last` the number of the newest message.

    `charter_digest` is the SHA-256 of the charter's text; `answers` are of sites that were asked.
    """

    model_config = ConfigDict(populate_by_name=True)

    name: str
    rules: dict[str, Any] = Field(alias="schema")
    retention: int
    charter: str
    charter_digest: str | None
    answers: list[AnswerOut] = []
    last: int
    person: str
    created: datetime


class ChannelsOut(Schema):
    channels: list[ChannelOut]


class BlobIn(Asked):
    size: int = Field(ge=0)
    sha256: Sha256
    upload: str = Field(max_length=64)


class MessageIn(Asked):
    kind: KindName
    body: dict[str, Any] = {}
    blob: BlobIn | None = None
    # The sender's own name of it: the same again is the same message.
    key: str = Field(pattern=r"^[^\x00-\x1f\x7f]{1,64}$")


class PostedOut(Schema):
    sequence: int


class BlobOut(Schema):
    size: int
    sha256: str


class SenderOut(Schema):
    site: str | None
    task: str | None
    attempt: str | None
    person: str | None


class MessageOut(Schema):
    """`signature` is the sending site's, over the message with its `number` among those of its attempt on
    this channel; see docs/users/channels.md for what it binds. Null: a person's, or an older agent's."""

    sequence: int
    kind: str
    body: dict[str, Any]
    blob: BlobOut | None
    sender: SenderOut
    created: datetime
    number: int | None
    signature: str | None


class MessagesOut(Schema):
    messages: list[MessageOut]
    last: int  # the channel's newest


class MessagesAsked(Asked):
    after: Annotated[int, Field(ge=0, lt=1 << 53)] = 0
    limit: Annotated[int, Field(ge=1, le=100)] = 100
    wait: Annotated[float, Field(ge=0, le=MAX_WAIT)] = 0.0


class ChannelDeletedOut(Schema):
    deleted: str


@router.get("/channels", response=ChannelsOut, by_alias=True, summary="The project's channels")
def list_channels(request: HttpRequest) -> dict[str, Any]:
    project = caller(request, "tasks:read").project
    rows = Channel.objects.filter(project=project).select_related("person").order_by("name")
    return {"channels": [_card(channel) for channel in rows]}


@router.post("/channels", response={201: ChannelOut}, by_alias=True, summary="Make a channel")
def make_channel(request: HttpRequest, body: ChannelIn) -> Status[dict[str, Any]]:
    """The same again is the same channel. Schema and charter are never changed: make another channel."""
    who = caller(request, "tasks:write")
    try:
        rules = read_schema(body.rules)
    except ValueError as error:
        where, _, message = str(error).partition(": ")
        raise field_problem(f"schema.{where}" if where != "schema" else where, message) from error
    try:
        charter = charters.check(body.charter) if body.charter else ""
    except ValueError as error:
        raise field_problem("charter", str(error)) from error
    try:
        made = keep.make(who.project, who.person, body.name, rules, body.retention, charter)
    except Refused as refused:
        raise _refusal(refused) from refused
    return Status(201, _card(made))


@router.get(
    "/channels/{name}", response=ChannelOut, by_alias=True, summary="A channel and its schema"
)
def show_channel(request: HttpRequest, name: str) -> dict[str, Any]:
    channel = _channel(caller(request, "tasks:read"), name)
    return {**_card(channel), "answers": read.answers(channel)}


@router.delete(
    "/channels/{name}", response=ChannelDeletedOut, summary="Delete a channel with all its messages"
)
def delete_channel(request: HttpRequest, name: str) -> dict[str, str]:
    keep.delete(_channel(caller(request, "tasks:write"), name))
    return {"deleted": name}


@router.get("/channels/{name}/messages", response=MessagesOut, summary="Messages after a number")
def list_messages(request: HttpRequest, name: str, asked: Query[MessagesAsked]) -> dict[str, Any]:
    """In order. With `wait`, held for so many seconds while there is none."""
    who = caller(request, "tasks:read")
    channel = _channel(who, name)
    messages = look_until(
        who.project.pk,
        asked.wait,
        lambda: read.after(channel, asked.after, asked.limit),
        bool,
        key=wake.channels_key(who.project.pk),
    )
    last = max([channel.last, *(m.sequence for m in messages)])
    return {"messages": read.cards(messages), "last": last}


@router.post(
    "/channels/{name}/messages", response={201: PostedOut}, summary="Put a message into a channel"
)
def post_message(request: HttpRequest, name: str, body: MessageIn) -> Status[dict[str, int]]:
    """Its blob, if it has one, is sent first: POST …/blobs. The same `key` again is the same message."""
    who = caller(request, "tasks:write")
    channel = _channel(who, name)
    blob = None if body.blob is None else Blob(**body.blob.model_dump())
    letter = Letter(channel.pk, body.key, body.kind, body.body, blob, person=who.person.pk)
    [outcome] = post([letter])
    if isinstance(outcome, Refused):
        raise _refusal(outcome)
    return Status(201, {"sequence": outcome})


@router.post(
    "/channels/{name}/blobs", response={201: UploadOut}, summary="Declare a blob, or go on with it"
)
def declare_blob(request: HttpRequest, name: str, body: Blocks) -> Status[dict[str, Any]]:
    """Send each missing block by one PUT to its URL, and declare again until `ready`; then post the
    message. It lies at `.ayni/channels/NAME/SHA256` among the project's files."""
    who = caller(request, "tasks:write")
    channel = _channel(who, name)
    path = paths.blob_path(channel.name, body.sha256)
    [outcome] = uploads.declare([Declaration(who.project, path, body)])
    if isinstance(outcome, Refused):
        raise _refusal(outcome)
    [standing] = uploads.standings([outcome])
    missing = [{"n": n, "url": url} for n, url in standing.missing]
    answer = {"upload": standing.upload, "missing": missing, "ready": standing.ready}
    return Status(201, answer)


def _channel(who: Caller, name: str) -> Channel:
    found = Channel.objects.filter(project=who.project, name=name[:63]).select_related("person")
    if "\0" in name or (channel := found.first()) is None or channel.name != name:
        raise ProblemError(
            404, "No such channel", f"project {who.project.name} has no channel of this name"
        )
    return channel


def _card(channel: Channel) -> dict[str, Any]:
    return {
        "name": channel.name,
        "schema": channel.schema,
        "retention": channel.retention,
        "charter": channel.charter,
        "charter_digest": channel.charter_digest,
        "last": channel.last,
        "person": channel.person.email,
        "created": channel.created,
    }


def _refusal(refused: Refused) -> ProblemError:
    headers = {"Retry-After": "5"} if refused.status == 429 else {}
    return ProblemError(
        refused.status, "It cannot be done", str(refused), headers=headers, code=refused.code
    )
