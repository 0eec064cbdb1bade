"""What was measured of a model, as files: losses by language, and exposure of canaries. No torch.

They are made where the texts are and are all that leaves; so they come from other sites, and are read
within bounds.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ayni.errors import UserError
from ayni.lm.faults import first_fault
from ayni.lm.files import written
from ayni.lm.tags import POOLED, TAG, smallest_apart
from ayni.terminal import one_line

LANGUAGES = 1 << 12  # of one model
_MOST = 1 << 20  # bytes of a file
Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Whole = Annotated[int, Field(ge=0, le=1 << 53)]
Tag = Annotated[str, Field(pattern=rf"^{TAG}$")]
Place = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Nats = Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)]
Bits = Annotated[float, Field(ge=0, le=64, allow_inf_nan=False)]


class Evidence(BaseModel):
    """`weights` and `tokenizer` are SHA-256: what the model is known by that was measured."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    weights: Hash
    tokenizer: Hash
    sites: Annotated[tuple[Place, ...], Field(max_length=1000)]


class Loss(BaseModel):
    """The mean in nats a token, over how many tokens, and of how many bytes of text where known."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    loss: Nats
    tokens: Annotated[int, Field(ge=1, le=1 << 53)]
    bytes: Annotated[int, Field(ge=1, le=1 << 53)] | None = None

    @property
    def bits(self) -> float | None:
        """Bits a byte: what tokenizers and languages can be compared by."""
        return self.loss * self.tokens / math.log(2) / self.bytes if self.bytes else None


class Losses(Evidence):
    """Losses on what is held out. `length` is that of the rows, in tokens."""

    format: Literal["ayni-losses/1"] = "ayni-losses/1"
    length: Annotated[int, Field(ge=1, le=1 << 24)]
    languages: Annotated[dict[Tag, Loss], Field(min_length=1, max_length=LANGUAGES)]


class Spread(BaseModel):
    """The exposures of several canaries, in bits."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    count: Annotated[int, Field(ge=1, le=1 << 20)]
    median: Bits
    mean: Bits
    most: Bits


class Planted(Spread):
    """`times`: how often each of them stands in the training text."""

    times: Annotated[int, Field(ge=1, le=1 << 20)]


class Exposure(Evidence):
    """How much better a model knows planted canaries than sequences that it never saw.

    `candidates`: how many others each was ranked among; `bound`: the most that so few can show, in
    bits; `control`: canaries that were never planted.
    """

    format: Literal["ayni-exposure/1"] = "ayni-exposure/1"
    length: Annotated[int, Field(ge=2, le=1 << 16)]  # of a canary, in tokens
    candidates: Annotated[int, Field(ge=1, le=1 << 30)]
    bound: Bits
    planted: Annotated[tuple[Planted, ...], Field(min_length=1, max_length=64)]
    control: Spread


E = TypeVar("E", bound=Evidence)


def load(kind: type[E], path: Path) -> E:
    """Read a file of evidence.

    Raises:
        UserError: it is none; the message names the field.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MOST + 1)
        if len(data) > _MOST:
            raise UserError(
                f"{path}: larger than {_MOST} bytes; this is no {kind.__name__.lower()}"
            )
        return kind.model_validate_json(data)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; name a file") from error
    except ValidationError as error:
        command = "evaluate" if kind is Losses else "exposure"
        raise UserError(
            one_line(f"{path}: {first_fault(error)}; name what 'ayni lm {command}' wrote")
        ) from error


def save(found: Evidence, path: Path) -> None:
    with written(path) as file:
        file.write(found.model_dump_json(indent=1).encode() + b"\n")


def pooled(parts: Iterable[Losses]) -> dict[str, Loss]:
    """Several sites' losses of one model as one, token by token.

    Raises:
        UserError: they are of different models, or of one site twice.
    """
    found: dict[str, list[Loss]] = {}
    seen: set[str] = set()
    first: Losses | None = None
    for part in parts:
        first = first or part
        if part.weights != first.weights or part.tokenizer != first.tokenizer:
            raise UserError(
                "the losses given together are of different models: give each its own name"
            )
        if again := seen.intersection(part.sites):
            raise UserError(
                f"the losses at {', '.join(sorted(again))} are given twice: give them once"
            )
        seen.update(part.sites)
        for name, one in part.languages.items():
            found.setdefault(name, []).append(one)
    return {name: _sum(found[name]) for name in sorted(found)}


def bounded(found: Mapping[str, Loss]) -> dict[str, Loss]:
    """At most so many languages as a file holds: the smallest of more are one, `mul`."""
    kept, small = smallest_apart(found, LANGUAGES)
    return kept | ({POOLED: _sum(small)} if small else {})


def _sum(parts: list[Loss]) -> Loss:
    tokens = sum(part.tokens for part in parts)
    size = sum(part.bytes or 0 for part in parts)
    return Loss(
        loss=math.fsum(part.loss * part.tokens for part in parts) / tokens,
        tokens=tokens,
        bytes=size if all(part.bytes for part in parts) else None,
    )


def spread(bits: list[float]) -> Spread:
    """Of one canary or more."""
    return Spread(
        count=len(bits), median=statistics.median(bits), mean=statistics.fmean(bits), most=max(bits)
    )
