"""What leaves a site in a run, and what comes to it: the channels' schemas, made from the message models.

A site's own name and the run's are left out: the network says who speaks, and a channel is one run's.
What people read is left out, too: a reason is one of a list, so that no text can travel in it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from ayni.lm.outer.codec import Codec, blob_size
from ayni.lm.outer.messages import (
    EVENTS,
    Compared,
    Contributed,
    Discarded,
    Evaluated,
    Event,
    Failed,
    Head,
    Held,
    Joined,
    Link,
    Name,
    Pause,
    Progressed,
    Readmit,
    Rejected,
    Resume,
    RollBack,
    Set,
    SiteEvent,
    Variant,
    Wish,
)
from ayni.lm.outer.state import Rules
from ayni.lm.tags import MAX_TAG, TAG

if TYPE_CHECKING:
    from ayni.client.channels import ChannelMessage

UP = (Joined, Held, Contributed, Failed, Discarded, Evaluated, Compared, Progressed)
WISHES = (Pause, Resume, RollBack, Set, Readmit)
NOT_FINITE = "a loss, a gradient or a weight is not finite"
CANNOT = "its trainer cannot go on; its log says why"
NO_ROOM = "a disk at the site is full"
UNREADY = "its data, tokenizer or checkpoint does not fit the run; its log says what"
_REASONS = (NOT_FINITE, CANNOT, NO_ROOM, UNREADY)
#: Why a wish is not heard.
UNSIGNED = "it is not signed: give it with a newer Ayni"
FOREIGN = "its key is not in the coordinator's steering-keys.json; 'ayni lm key' prints it"
FORGED = "its signature does not hold: it was changed on the way, or is of another run"
STALE = "it is no newer than the last one heard, or than the run: mind the clock, and give it again"
LATE = "it was signed more than a day ago: give it again"
EARLY = "it was signed by a clock more than a minute ahead: set that right, and give it again"
STRANGE = "it is none that a run knows"
UNREADABLE = "the coordinator cannot read its steering-keys.json: mend that, and give it again"
_REFUSALS = (UNSIGNED, FOREIGN, FORGED, STALE, LATE, EARLY, STRANGE, UNREADABLE)
_SAID = ("kind", "site", "run")  # by the network, not by the sender
_HEX = "[0-9a-f]{32}|[0-9a-f]{64}"  # digests and nonces
_ADDRESS = "[0-9a-f]{64}"  # of a contribution's blob
_MOST = 1000  # of a list: as many as a run may have sites
#: What a head has lists of, which travel as lists of their fields.
_LISTS: Mapping[str, type[BaseModel]] = {"chain": Link, "variants": Variant}
LANGUAGES = 512  # in one message
_BODY = 64 << 10
_LARGE = 1e300
BLOB, HEAD, LOSSES, ANSWER = "blob", "head", "losses", "answer"
_NAMES: TypeAdapter[str] = TypeAdapter(Name)


# --- schemas ----------------------------------------------------------------------------------


def up_schema(rules: Rules, count: int) -> dict[str, Any]:
    """What a site may say. `count`: the model's values.

    Its blobs are the encoded pseudo-gradients, and no larger than that of the whole model is.
    """
    kinds = {_kind(model): {"fields": _fields(model)} for model in UP}
    size = blob_size(count, rules.codec)
    kinds["contributed"]["blob"] = {"max_bytes": size}
    kinds[LOSSES] = {"fields": _losses()}
    # twice all rounds: what is sent again after a kill counts again
    round_bytes = size + rules.fragments * (16 << 10)
    most = 2 * (rules.schedule.rounds() + 1 + rules.keep) * round_bytes + (64 << 20)
    rate = 120 * rules.fragments
    return {"kinds": kinds, "max_body": _BODY, "max_bytes": min(most, 1 << 50), "rate": rate}


def down_schema(count: int) -> dict[str, Any]:
    """What the sites are told: heads, and the weights and updates that they name."""
    blob = {"max_bytes": blob_size(count, Codec.FLOAT32), "on_request": True}
    kinds = {
        HEAD: {"fields": _fields(Head)},
        BLOB: {
            # `next`: it is the update to a version that is still being made; who waits may fetch it.
            "fields": {
                "ref": _rule(Held.model_json_schema()["properties"]["digest"]),
                "next": {"type": "boolean", "optional": True},
            },
            "blob": blob,
        },
    }
    return {"kinds": kinds, "max_body": _BODY, "max_bytes": 1 << 50, "rate": 600}


def wishes_schema() -> dict[str, Any]:
    """What people may wish, each with their signature (`ayni.lm.steering`); and what is answered."""
    count = {"type": "integer", "minimum": 0, "maximum": 1 << 53}
    signed = {
        "key": {"type": "string", "pattern": "[0-9a-f]{64}", "max_length": 64},
        "at": count,
        "signature": {"type": "string", "pattern": "[0-9a-f]{128}", "max_length": 128},
    }
    kinds = {_kind(model): {"fields": _fields(model) | signed} for model in WISHES}
    refused = {"type": "enumeration", "values": list(_REFUSALS), "optional": True}
    kinds[ANSWER] = {"fields": {"wish": count, "refused": refused}}
    return {"kinds": kinds, "rate": 600}


def _kind(model: type[BaseModel]) -> str:
    return str(model.model_fields["kind"].default).replace(" ", "-")


def _left_out(model: type[BaseModel]) -> set[str]:
    return {"kind"} if model in WISHES else set(_SAID)


def _fields(model: type[BaseModel]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, said in model.model_json_schema()["properties"].items():
        if name in _left_out(model):
            continue
        if name in _LISTS:
            found |= {f"{name}_{key}": rule for key, rule in _columns(_LISTS[name]).items()}
        elif name == "reason":
            found[name] = {"type": "enumeration", "values": list(_REASONS)}
        elif name == "blob":
            found[name] = {"type": "string", "pattern": _ADDRESS, "max_length": 64}
        else:
            found[name] = _rule(said)
    return found


def _columns(model: type[BaseModel]) -> dict[str, Any]:
    """A list of models as lists of their fields; what may be absent is an empty text then."""
    rules = {name: _rule(said) for name, said in model.model_json_schema()["properties"].items()}
    for rule in rules.values():
        if rule.pop("optional", False):
            rule["pattern"] = f"|{rule['pattern']}"
    return {name: rule | {"many": _MOST} for name, rule in rules.items()}


def _losses() -> dict[str, Any]:
    """A round's training losses by language, and the seconds that it trained: what people watch."""
    language = {"type": "string", "pattern": TAG, "max_length": MAX_TAG}
    loss = {"type": "number", "minimum": 0, "maximum": 1e6}
    count = {"type": "integer", "minimum": 0, "maximum": 1 << 53}
    return {
        "base": count,
        "languages": language | {"many": LANGUAGES},
        "losses": loss | {"many": LANGUAGES},
        "tokens": count | {"many": LANGUAGES},
        "seconds": {"type": "number", "minimum": 0, "maximum": 1e9, "optional": True},
    }


def _rule(said: Mapping[str, Any]) -> dict[str, Any]:
    """A field's rule from its JSON schema."""
    if "anyOf" in said:
        (one,) = (other for other in said["anyOf"] if other.get("type") != "null")
        return _rule(one) | {"optional": True}
    if "enum" in said:
        return {"type": "enumeration", "values": list(said["enum"])}
    match said["type"]:
        case "integer":
            low = said.get("minimum", 0)
            return {"type": "integer", "minimum": low, "maximum": said.get("maximum", 1 << 53)}
        case "number":
            low, high = said.get("minimum", -_LARGE), said.get("maximum", _LARGE)
            return {"type": "number", "minimum": low, "maximum": high}
        case "boolean":
            return {"type": "boolean"}
        case "array":
            return _rule(said["items"]) | {"many": _MOST}
    pattern = str(said["pattern"]).removeprefix("^").removesuffix("$")
    pattern = _HEX if ":" in pattern else pattern
    return {"type": "string", "pattern": pattern, "max_length": 64}


# --- messages ---------------------------------------------------------------------------------


def said(event: SiteEvent | Wish) -> tuple[str, dict[str, Any]]:
    """An event as kind and body."""
    left_out = _left_out(type(event))
    return _kind(type(event)), event.model_dump(mode="json", exclude=left_out, exclude_none=True)


def heard(kind: str, body: Mapping[str, Any], *, run: str, site: str | None = None) -> Event:
    """The event in a message, of a site that the network vouches for, or of a person.

    Raises:
        ValueError: it is none.
    """
    models = {_kind(model): model for model in (UP if site is not None else WISHES)}
    model = models.get(kind)
    if model is None or set(body) & _left_out(model):
        raise ValueError(f"{kind[:80]!r} says nothing that a run knows")
    whole = {"site": site, "run": run, "kind": model.model_fields["kind"].default}
    spare = {name: whole[name] for name in _left_out(model) if name in model.model_fields}
    nothing = {name: None for name, field in model.model_fields.items() if field.is_required()}
    try:
        (event,) = EVENTS.validate_python([{**nothing, **body, **spare}])
    except ValidationError as error:
        fault = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, fault["loc"][1:]))
        raise ValueError(f"{kind}: {where}: {fault['msg']}") from error
    return event


def rejected(message: ChannelMessage, reason: str) -> Rejected:
    """For the books: a message was refused."""
    text = json.dumps([message.kind, message.body, message.sequence], sort_keys=True)
    try:
        claimed = _NAMES.validate_python(message.sender.site or "person")
    except ValidationError:
        claimed = "unknown"
    digest = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
    return Rejected(claimed=claimed, digest=digest, reason=reason[:500])


def said_head(head: Head) -> dict[str, Any]:
    """A head as a body."""
    body = head.model_dump(mode="json", exclude={*_SAID, *_LISTS}, exclude_none=True)
    for name, model in _LISTS.items():
        ones = [one.model_dump() for one in getattr(head, name)]
        for key in model.model_fields:
            body[f"{name}_{key}"] = ["" if one[key] is None else one[key] for one in ones]
    return body


def heard_head(body: Mapping[str, Any], *, run: str) -> Head:
    """The head in a body.

    Raises:
        ValueError: it is none.
    """
    found = {"lr": None, **body, "run": run}
    for name, model in _LISTS.items():
        columns = [found.pop(f"{name}_{key}", None) or [] for key in model.model_fields]
        rows = zip(*columns, strict=True)
        found[name] = tuple(
            {
                key: None if value == "" else value
                for key, value in zip(model.model_fields, row, strict=True)
            }
            for row in rows
        )
    return Head.model_validate(found)
