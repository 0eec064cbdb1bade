"""Canaries: random sequences that are planted in a site's shards, to measure what a model memorises.

They hold nothing of anybody: each token is drawn evenly from the tokenizer's own, the special ones left
out, by a key that is made of a seed and the site. The file stays with the shards.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ayni.errors import UserError
from ayni.lm.faults import first_fault
from ayni.lm.files import written
from ayni.lm.tokenizer.model import Loaded
from ayni.terminal import one_line

FILE = "canaries.json"
LANGUAGE = "zxx"  # ISO 639: no linguistic content
LENGTH = 12  # tokens
MAX_PLANTED = 1 << 20  # documents
_MOST = 64 << 20  # bytes of the file

Sequences = NDArray[np.int64]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Group(_Strict):
    """Sequences that are each planted so many times."""

    times: Annotated[int, Field(ge=1, le=MAX_PLANTED)]
    sequences: Annotated[tuple[tuple[int, ...], ...], Field(min_length=1, max_length=MAX_PLANTED)]


class Canaries(_Strict):
    """What was planted at a site. `tokenizer`: SHA-256 of its file; `length` in tokens."""

    format: Literal["ayni-canaries/1"] = "ayni-canaries/1"
    tokenizer: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    site: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]
    seed: Annotated[int, Field(ge=0, le=1 << 62)]
    length: Annotated[int, Field(ge=2, le=1 << 10)]
    groups: Annotated[tuple[Group, ...], Field(min_length=1, max_length=64)]

    def key(self, what: str) -> str:
        """What other sequences of the same form are drawn by."""
        return _key(self.seed, self.site, what)

    def documents(self) -> list[NDArray[np.int64]]:
        """Every sequence as often as it is planted; one after the other, not grouped by sequence."""
        return [
            np.array(one)
            for group in self.groups
            for _ in range(group.times)
            for one in group.sequences
        ]


def make(
    groups: list[tuple[int, int]], tokenizer: Loaded, *, site: str, seed: int, length: int = LENGTH
) -> Canaries:
    """Canaries of a site: the same for the same seed, site and tokenizer on every machine.

    Args:
        groups: how many, and how often each is planted.

    Raises:
        UserError: more than a million documents.
    """
    if sum(count * times for count, times in groups) > MAX_PLANTED:
        raise UserError(f"--canaries: more than {MAX_PLANTED} documents; plant fewer")
    letters = alphabet(tokenizer)
    made = []
    for number, (count, times) in enumerate(groups):
        found = sequences(_key(seed, site, f"planted {number}"), count, length, letters)
        made.append(Group(times=times, sequences=tuple(tuple(row) for row in found.tolist())))
    return Canaries(
        tokenizer=tokenizer.sha256, site=site, seed=seed, length=length, groups=tuple(made)
    )


def alphabet(tokenizer: Loaded) -> NDArray[np.int64]:
    """The ids that canaries are made of: all but the special ones, in order."""
    special = set(tokenizer.tokenizer.get_added_tokens_decoder())
    known = tokenizer.tokenizer.get_vocab(with_added_tokens=False).values()
    return np.array(sorted(set(known) - special - {tokenizer.end}), np.int64)


def sequences(key: str, count: int, length: int, letters: NDArray[np.int64]) -> Sequences:
    """`count` sequences, [count, length], each token drawn evenly from the letters.

    By SHAKE-256 of the key and not by a library's generator, whose stream may change: 64 bits a token,
    so that the remainder's bias is below 2^-43.
    """
    stream = hashlib.shake_256(f"ayni-canaries-1\0{key}".encode()).digest(8 * count * length)
    drawn = np.frombuffer(stream, "<u8").reshape(count, length)
    found: Sequences = letters[(drawn % np.uint64(len(letters))).astype(np.int64)]
    return found


def _key(seed: int, site: str, what: str) -> str:
    return f"{seed}\0{site}\0{what}"


def save(canaries: Canaries, folder: Path) -> None:
    with written(folder / FILE) as file:
        file.write(canaries.model_dump_json().encode() + b"\n")


def load(path: Path) -> Canaries:
    """Canaries from their file, or from the folder of shards where they were planted.

    Raises:
        UserError: there are none, or the file cannot be used.
    """
    path = path / FILE if path.is_dir() else path
    try:
        with path.open("rb") as file:
            data = file.read(_MOST + 1)
        found = Canaries.model_validate_json(data[:_MOST])
    except OSError as error:
        raise UserError(
            f"{path}: {error.strerror}; canaries are planted by 'ayni lm corpus pack --canaries'"
        ) from error
    except ValidationError as error:
        raise UserError(one_line(f"{path}: {first_fault(error)}; pack the corpus again")) from error
    if any(len(one) != found.length for group in found.groups for one in group.sequences):
        raise UserError(f"{path}: sequences of another length; pack the corpus again")
    return found
