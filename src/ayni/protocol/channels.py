"""Channels: what a project's tasks and processes may say to one another. Pure.

A channel's *schema* lists the kinds of messages, their fields with types and bounds, and what one
sender may send in all. The site's agent judges every message by it before anything leaves, and the
hub again. A message that passes is written anew from its parsed values (`canonical`), so that nothing
but those values travels.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import SchemaError, SchemaValidator, core_schema
from pydantic_core import ValidationError as CoreError

MAX_BODY = 64 << 10  # bytes of a message's body as JSON
MAX_BLOB = 1 << 40  # bytes
MAX_KINDS = 32
MAX_FIELDS = 64
MAX_MESSAGES = 100  # in one request or answer
_EXACT = 1 << 53  # beyond it, not every reader of JSON has whole numbers

ChannelName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
KindName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,62}$")]
FieldName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,62}$")]
Signature = Annotated[str, Field(pattern=r"^[0-9a-f]{128}$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Unfit(ValueError):
    """A message that its channel's schema does not list.

    Attributes:
        code: for programs: `kind`, `body`, `blob`, `size`.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


# --- the schema's document --------------------------------------------------------------------


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class _FieldRule(_Strict):
    """What all fields have. `many`: a list of at most so many such values."""

    many: int | None = Field(default=None, ge=1, le=4096)
    optional: bool = False


class IntegerField(_FieldRule):
    type: Literal["integer"]
    minimum: int = Field(ge=-_EXACT, le=_EXACT)
    maximum: int = Field(ge=-_EXACT, le=_EXACT)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        _check_order(self.minimum, self.maximum)
        return self

    def core(self) -> core_schema.CoreSchema:
        return core_schema.int_schema(ge=self.minimum, le=self.maximum, strict=True)


class NumberField(_FieldRule):
    type: Literal["number"]
    minimum: float = Field(allow_inf_nan=False)
    maximum: float = Field(allow_inf_nan=False)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        _check_order(self.minimum, self.maximum)
        return self

    def core(self) -> core_schema.CoreSchema:
        return core_schema.float_schema(
            ge=self.minimum, le=self.maximum, allow_inf_nan=False, strict=True
        )


class BooleanField(_FieldRule):
    type: Literal["boolean"]

    def core(self) -> core_schema.CoreSchema:
        return core_schema.bool_schema(strict=True)


class EnumerationField(_FieldRule):
    type: Literal["enumeration"]
    values: list[Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]{1,100}$")]] = Field(
        min_length=1, max_length=1024
    )

    def core(self) -> core_schema.CoreSchema:
        return core_schema.literal_schema(list(self.values))


class StringField(_FieldRule):
    """All of the text must match `pattern`: Rust's regular expressions, which take linear time."""

    type: Literal["string"]
    pattern: str = Field(pattern=r"^[^\x00]{1,500}$")
    max_length: int = Field(ge=1, le=4096)

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        try:  # by itself first: a lone parenthesis must not close ours
            SchemaValidator(core_schema.str_schema(pattern=pattern, regex_engine="rust-regex"))
            SchemaValidator(_whole(pattern, 1))
        except SchemaError as error:
            raise ValueError(f"is no regular expression: {str(error)[-200:]}") from error
        return pattern

    def core(self) -> core_schema.CoreSchema:
        return _whole(self.pattern, self.max_length)


def _whole(pattern: str, longest: int) -> core_schema.CoreSchema:
    return core_schema.str_schema(
        pattern=f"^(?:{pattern})$", max_length=longest, regex_engine="rust-regex", strict=True
    )


def _check_order(low: float, high: float) -> None:
    if low > high:
        raise ValueError(f"minimum {low} is more than maximum {high}")


FieldRule: TypeAlias = Annotated[
    IntegerField | NumberField | BooleanField | EnumerationField | StringField,
    Field(discriminator="type"),
]


class BlobRule(_Strict):
    """Bytes beside the body that nobody looks into. `on_request`: a task that reads is given them only
    when it asks."""

    max_bytes: int = Field(ge=1, le=MAX_BLOB)
    required: bool = True
    on_request: bool = False


class Kind(_Strict):
    """One kind of message."""

    fields: dict[FieldName, FieldRule] = Field(default={}, max_length=MAX_FIELDS)
    blob: BlobRule | None = None

    @cached_property
    def validator(self) -> SchemaValidator:
        fields = {
            name: core_schema.typed_dict_field(_many(rule), required=not rule.optional)
            for name, rule in self.fields.items()
        }
        return SchemaValidator(core_schema.typed_dict_schema(fields, extra_behavior="forbid"))


def _many(rule: Any) -> core_schema.CoreSchema:
    one: core_schema.CoreSchema = rule.core()
    if rule.many is None:
        return one
    return core_schema.list_schema(one, max_length=rule.many, strict=True, fail_fast=True)


class Schema(_Strict):
    """What may be said on a channel.

    Attributes:
        kinds: of messages, by name.
        max_body: bytes of a message's body as JSON.
        max_bytes: bytes that one sender may send in all; a task with all its attempts.
        rate: messages a minute of one sender.
    """

    kinds: dict[KindName, Kind] = Field(min_length=1, max_length=MAX_KINDS)
    max_body: int = Field(default=16 << 10, ge=2, le=MAX_BODY)
    max_bytes: int = Field(default=1 << 30, ge=1, le=1 << 50)
    rate: int = Field(default=60, ge=1, le=60_000)

    def is_on_request(self, kind: str) -> bool:
        """Whether blobs of this kind are brought to a task only when it asks for them."""
        rule = self.kinds.get(kind)
        return rule is not None and rule.blob is not None and rule.blob.on_request

    def check(self, kind: str, body: Any, blob: int | None) -> dict[str, Any]:
        """The body as it may travel.

        Args:
            kind: as the sender says.
            body: parsed JSON.
            blob: bytes of what goes with it, if anything does.

        Raises:
            Unfit: it is not listed; the message names the field.
        """
        rule = self.kinds.get(kind)
        if rule is None:
            known = ", ".join(sorted(self.kinds))
            raise Unfit("kind", f"kind {kind[:80]!r} is not in the schema; it has {known}")
        try:
            fit: dict[str, Any] = rule.validator.validate_python(body)
        except CoreError as error:
            raise Unfit("body", _first(error)) from error
        size = len(canonical(fit))
        if size > self.max_body:
            raise Unfit("size", f"the body has {size} bytes; the schema allows {self.max_body}")
        _check_blob(kind, rule.blob, blob)
        return fit


def _check_blob(kind: str, rule: BlobRule | None, size: int | None) -> None:
    if size is None:
        if rule is not None and rule.required:
            raise Unfit("blob", f"a message of kind {kind} needs a blob")
    elif rule is None:
        raise Unfit("blob", f"a message of kind {kind} has no blob in the schema")
    elif size > rule.max_bytes:
        raise Unfit("blob", f"the blob has {size} bytes; the schema allows {rule.max_bytes}")


def _first(error: CoreError) -> str:
    fault = error.errors(include_url=False, include_input=False, include_context=False)[0]
    where = ".".join(str(part)[:80] for part in fault["loc"]) or "body"
    if fault["type"] == "extra_forbidden":
        return f"{where}: is not in the schema"
    return f"{where}: {fault['msg'][:300]}"


def read_schema(document: Any) -> Schema:
    """A schema from a parsed document.

    Raises:
        ValueError: the message names the field.
    """
    try:
        return Schema.model_validate_json(json.dumps(document, allow_nan=False))
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, fault["loc"])) or "schema"
        message = fault["msg"].removeprefix("Value error, ")
        raise ValueError(f"{where}: {message}") from error
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"schema: is no plain JSON: {error}") from error


def canonical(body: Mapping[str, Any]) -> bytes:
    """A body as the bytes that travel: sorted keys, no spaces, UTF-8."""
    text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode()


def digest(kind: str, body: Mapping[str, Any], blob: str | None) -> str:
    """SHA-256 of all that a message says: equal if and only if it says the same."""
    return hashlib.sha256(canonical({"kind": kind, "body": body, "blob": blob})).hexdigest()


def cost(kind: str, body: Mapping[str, Any], blob: int | None) -> int:
    """What a message counts, in bytes: its kind, its body and its blob."""
    return len(kind.encode()) + len(canonical(body)) + (blob or 0)


def admitted(patterns: Iterable[str] | None, project: str, channel: str) -> bool:
    """Whether a policy's patterns (`PROJECT` or `PROJECT/CHANNEL`) let a channel be used; None: all."""
    if patterns is None:
        return True
    name = f"{project}/{channel}"
    return any(fnmatchcase(name, p if "/" in p else f"{p}/*") for p in patterns)


# --- between agent and hub --------------------------------------------------------------------


class Words(BaseModel):
    # A newer peer may say more; what an older one does not know, it passes over.
    model_config = ConfigDict(extra="ignore")


class ChannelUse(Words):
    """A channel that an attempt may use, as it was when the attempt was assigned.

    `charter`: the digest of its charter, if it has one; the site asks for the text and believes only that.
    """

    name: ChannelName
    rules: Schema
    sends: bool
    reads: bool
    charter: Sha256 | None = None


class Blob(Words):
    size: int = Field(ge=0, le=MAX_BLOB)
    sha256: Sha256
    upload: str | None = Field(default=None, max_length=64)  # where it is on its way to the hub


class Outgoing(Words):
    """A message of an attempt. `number` counts those of its channel, from 1; `signature` is the site's over
    all of it (`ayni.signatures`), which the hub hands on and readers check."""

    attempt: str = Field(max_length=64)
    channel: ChannelName
    number: int = Field(ge=1, le=_EXACT)
    kind: str = Field(max_length=64)
    body: dict[str, Any]
    blob: Blob | None = None
    signature: Signature | None = None  # None: an agent that does not sign


class PostRequest(Words):
    messages: list[Outgoing] = Field(max_length=MAX_MESSAGES)


class Problem(Words):
    code: str
    message: str
    retryable: bool = False


class Posted(Words):
    """`sequence`: the message's number in its channel, also if it was posted before."""

    sequence: int | None = None
    problem: Problem | None = None


class PostReply(Words):
    results: list[Posted]


class Want(Words):
    """What an attempt wants to read of a channel: all after a number."""

    attempt: str = Field(max_length=64)
    channel: ChannelName
    after: int = Field(ge=0, le=_EXACT)


class ReadRequest(Words):
    wants: list[Want] = Field(max_length=1000)
    wait: float = Field(default=0.0, ge=0, le=60)


class Sender(Words):
    """Who said it: an attempt of a task at a site, or a person."""

    site: str | None = None
    task: str | None = None
    attempt: str | None = None
    person: str | None = None


class Incoming(Words):
    """A message for an attempt. `sent` in Unix seconds."""

    attempt: str
    channel: ChannelName
    sequence: int = Field(ge=1, le=_EXACT)
    kind: str
    body: dict[str, Any]
    blob: Blob | None = None
    sender: Sender = Sender()
    sent: float


class ReadReply(Words):
    messages: list[Incoming] = []
    problems: dict[str, Problem] = {}  # by `ATTEMPT/CHANNEL`: it may not read there


class CharterRequest(Words):
    """The text of a charter is wanted, for an attempt that is to use the channel."""

    attempt: str = Field(max_length=64)
    channel: ChannelName


class BlobRequest(Words):
    attempt: str = Field(max_length=64)
    channel: ChannelName
    sequence: int = Field(ge=1, le=_EXACT)
