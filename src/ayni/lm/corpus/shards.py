"""Tokens on disk, mapped into memory, with an index of documents.

A folder of shards holds `manifest.json` and, for each fold and number, `train-00000.bin` and
`train-00000.idx` (`heldout-00000…` likewise). A `.bin` is nothing but token ids, little-endian, two bytes
each where the vocabulary has at most 65,536 tokens, else four; each document ends with the tokenizer's
end token. An `.idx` is, little-endian too:

    0    8 bytes    the letters AYNIIDX1
    8    uint64     documents, n
    16   uint64     tokens
    24   uint64[n+1] where each document begins, in tokens; the last is the number of tokens
         uint64[n]  the group of translations that it belongs to (BLAKE2b of its name), 0 for none
         uint16[n]  its language and
         uint16[n]  its origin (member and site), as places in the manifest's lists

The manifest has the sizes and hashes of all files. It is written last, and again after each pair of
shards, so that a run that was cut off goes on behind the last one.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ayni.errors import UserError
from ayni.lm.faults import first_fault
from ayni.lm.files import written
from ayni.terminal import one_line

MANIFEST = "manifest.json"
MAGIC = b"AYNIIDX1"
HEADER = struct.Struct("<8sQQ")
MAX_MANIFEST = 64 << 20
MAX_NAMES = 1 << 16  # languages, or origins: they are two bytes in the index

Fold = Literal["train", "heldout"]
FOLDS: tuple[Fold, ...] = ("train", "heldout")
Whole = Annotated[int, Field(ge=0, le=1 << 62)]
Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Origin(_Strict):
    """Whose text it is: the country as in ISO 3166, and the site's name in the network."""

    member: Annotated[str, Field(pattern=r"^[A-Z]{2}$")]
    site: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]


class TokenizerFacts(_Strict):
    """The tokenizer that made the tokens: the SHA-256 of its file, its size, the id that ends a document."""

    sha256: Hash
    size: Annotated[int, Field(ge=1, le=1 << 20)]
    end: Whole


class Shard(_Strict):
    """Two files; hashes are BLAKE2b with 32 bytes."""

    fold: Fold
    number: Annotated[int, Field(ge=0, lt=100_000)]
    documents: Whole
    tokens: Whole
    bin: Hash
    idx: Hash

    @property
    def name(self) -> str:
        return f"{self.fold}-{self.number:05d}"


class Amount(_Strict):
    documents: Whole = 0
    tokens: Whole = 0
    bytes: Whole = 0  # of the text in UTF-8


class Next(_Strict):
    """Where an unfinished run goes on: the file, and how many of its documents are done."""

    file: Whole
    document: Whole


class Manifest(_Strict):
    """`manifest.json`. `input` is a hash of what was read and how; `next` is null once all is read."""

    format: Literal["ayni-shards/1"] = "ayni-shards/1"
    tokenizer: TokenizerFacts
    heldout: Annotated[float, Field(ge=0, lt=1)]
    input: Hash
    next: Next | None
    broken: Whole = 0
    languages: Annotated[list[str], Field(max_length=MAX_NAMES)]
    origins: Annotated[list[Origin], Field(max_length=MAX_NAMES)]
    amounts: dict[Fold, dict[str, Amount]]
    shards: list[Shard]

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype("<u2" if self.tokenizer.size <= 1 << 16 else "<u4")


def group_number(group: str | None) -> int:
    """A group's name as the number in the index; never 0 where there is one."""
    if group is None:
        return 0
    return int.from_bytes(hashlib.blake2b(group.encode(), digest_size=8).digest(), "little") or 1


def save_manifest(folder: Path, manifest: Manifest) -> None:
    with written(folder / MANIFEST) as file:
        file.write(json.dumps(manifest.model_dump(mode="json"), indent=1).encode() + b"\n")


def load_manifest(folder: Path) -> Manifest:
    """The manifest of a folder.

    Raises:
        UserError: there is none, or it breaks the format; the message names the key.
    """
    path = folder / MANIFEST
    try:
        with path.open("rb") as file:
            data = file.read(MAX_MANIFEST + 1)
    except OSError as error:
        raise UserError(
            f"{path}: {error.strerror}; name a folder made by 'ayni lm corpus pack'"
        ) from error
    try:
        if len(data) > MAX_MANIFEST:
            raise UserError(f"{path}: more than {MAX_MANIFEST} bytes; pack the corpus again")
        return Manifest.model_validate_json(data)
    except ValidationError as error:
        raise UserError(
            one_line(f"{path}: {first_fault(error, 'manifest')}; pack the corpus again")
        ) from error


@dataclass(frozen=True)
class _Open:
    """One shard's arrays, all views of files mapped into memory."""

    tokens: NDArray[np.unsignedinteger[Any]]
    offsets: NDArray[np.uint64]
    groups: NDArray[np.uint64]
    languages: NDArray[np.uint16]
    origins: NDArray[np.uint16]


class Shards:
    """The documents of one fold, by number; nothing is read before it is asked for.

    Opening looks at sizes and at the index, not at the tokens: see `verify` for that.

    Raises:
        UserError: unfinished, cut short, or an index that contradicts the manifest.
    """

    def __init__(self, folder: Path, fold: Fold = "train") -> None:
        self.folder = folder
        self.fold = fold
        self.manifest = load_manifest(folder)
        if self.manifest.next is not None:
            raise UserError(
                f"{folder}: packing was cut off; give the same 'ayni lm corpus pack' again"
            )
        self._shards = [shard for shard in self.manifest.shards if shard.fold == fold]
        self._open = [_opened(folder, shard, self.manifest) for shard in self._shards]
        self._ends = np.cumsum([shard.documents for shard in self._shards], dtype=np.int64)

    def __len__(self) -> int:
        """The number of documents."""
        return int(self._ends[-1]) if len(self._ends) else 0

    def tokens(self, i: int) -> NDArray[np.unsignedinteger[Any]]:
        """The tokens of document `i`, the end token included: a view, not to be written to."""
        shard, row = self._place(i)
        return shard.tokens[int(shard.offsets[row]) : int(shard.offsets[row + 1])]

    def language(self, i: int) -> str:
        """The BCP 47 tag of document `i`."""
        shard, row = self._place(i)
        return self.manifest.languages[int(shard.languages[row])]

    def origin(self, i: int) -> Origin:
        """Member and site that document `i` comes from."""
        shard, row = self._place(i)
        return self.manifest.origins[int(shard.origins[row])]

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """The number of tokens of every document."""
        return self._joined([np.diff(shard.offsets.astype(np.int64)) for shard in self._open])

    @cached_property
    def language_numbers(self) -> NDArray[np.int64]:
        """The language of every document, as a place in `manifest.languages`."""
        return self._joined([shard.languages for shard in self._open])

    @cached_property
    def groups(self) -> NDArray[np.uint64]:
        """The group of every document, 0 for none: translations of one another have the same."""
        parts = [shard.groups for shard in self._open]
        return np.concatenate(parts) if parts else np.zeros(0, np.uint64)

    @staticmethod
    def _joined(parts: Sequence[NDArray[Any]]) -> NDArray[np.int64]:
        return np.concatenate([np.zeros(0, np.int64), *parts]).astype(np.int64)

    def _place(self, i: int) -> tuple[_Open, int]:
        if not 0 <= i < len(self):
            raise IndexError(f"document {i} of {len(self)}")
        number = int(np.searchsorted(self._ends, i, side="right"))
        return self._open[number], i - (int(self._ends[number - 1]) if number else 0)


class Joined:
    """The documents of several folders as one: of tasks that packed a part each, or of several sites.

    Raises:
        UserError: folders whose tokens are not of one tokenizer, and what `Shards` says.
    """

    def __init__(self, folders: Sequence[Path], fold: Fold = "train") -> None:
        self.parts = [Shards(folder, fold) for folder in folders]
        for part in self.parts[1:]:
            if part.manifest.tokenizer != self.parts[0].manifest.tokenizer:
                raise UserError(
                    f"{part.folder}: made with another tokenizer than {self.parts[0].folder}; pack it again"
                )
        self._ends = np.cumsum([len(part) for part in self.parts], dtype=np.int64)

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def tokens(self, i: int) -> NDArray[np.unsignedinteger[Any]]:
        part, place = self._place(i)
        return part.tokens(place)

    def language(self, i: int) -> str:
        part, place = self._place(i)
        return part.language(place)

    def origin(self, i: int) -> Origin:
        part, place = self._place(i)
        return part.origin(place)

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """The number of tokens of every document."""
        return np.concatenate([np.zeros(0, np.int64), *(part.lengths for part in self.parts)])

    @cached_property
    def language_numbers(self) -> NDArray[np.int64]:
        """The language of every document, by a number that is the same in all folders."""
        names = sorted({name for part in self.parts for name in part.manifest.languages})
        found = [np.zeros(0, np.int64)]
        for part in self.parts:
            places = np.array([names.index(n) for n in part.manifest.languages], dtype=np.int64)
            found.append(places[part.language_numbers])
        return np.concatenate(found)

    def _place(self, i: int) -> tuple[Shards, int]:
        if not 0 <= i < len(self):
            raise IndexError(f"document {i} of {len(self)}")
        number = int(np.searchsorted(self._ends, i, side="right"))
        return self.parts[number], i - (int(self._ends[number - 1]) if number else 0)


def _opened(folder: Path, shard: Shard, manifest: Manifest) -> _Open:
    path = folder / f"{shard.name}.idx"
    count, dtype = shard.documents, manifest.dtype
    _sized(path, HEADER.size + 8 * (count + 1) + 8 * count + 4 * count)
    _sized(folder / f"{shard.name}.bin", shard.tokens * dtype.itemsize)
    with path.open("rb") as file:
        found = HEADER.unpack(file.read(HEADER.size))
    if found != (MAGIC, count, shard.tokens):
        raise UserError(f"{path}: not the index that the manifest lists; pack the corpus again")
    at = HEADER.size
    arrays: list[NDArray[Any]] = []
    for kind, length in (("<u8", count + 1), ("<u8", count), ("<u2", count), ("<u2", count)):
        array = _mapped(path, kind, at, length)
        arrays.append(array)
        at += array.nbytes
    opened = _Open(_mapped(folder / f"{shard.name}.bin", dtype, 0, shard.tokens), *arrays)
    ordered = opened.offsets[0] == 0 and opened.offsets[-1] == shard.tokens
    if not ordered or (count and not np.all(opened.offsets[1:] > opened.offsets[:-1])):
        raise UserError(f"{path}: offsets that are not in order; pack the corpus again")
    for array, names in (
        (opened.languages, manifest.languages),
        (opened.origins, manifest.origins),
    ):
        if count and int(array.max()) >= len(names):
            raise UserError(
                f"{path}: a language or origin that is not listed; pack the corpus again"
            )
    return opened


def _sized(path: Path, size: int) -> None:
    try:
        found = path.stat().st_size
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; pack the corpus again") from error
    if found != size:
        raise UserError(
            f"{path}: {found} bytes in place of {size}; copy it again, or pack the corpus again"
        )


def _mapped(path: Path, dtype: Any, offset: int, length: int) -> NDArray[Any]:
    if length == 0:
        return np.zeros(0, dtype)
    return np.memmap(path, dtype=dtype, mode="r", offset=offset, shape=(length,))


def file_hash(path: Path) -> str:
    """BLAKE2b of a file, 32 bytes as hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=32)).hexdigest()


def verify(folder: Path) -> Manifest:
    """Read every byte and compare it with the manifest.

    Raises:
        UserError: what `Shards` says, or a file whose bytes are not those that were written.
    """
    for fold in FOLDS:
        found = Shards(folder, fold)
        for shard in found._shards:
            for suffix, expected in (("bin", shard.bin), ("idx", shard.idx)):
                path = folder / f"{shard.name}.{suffix}"
                if file_hash(path) != expected:
                    raise UserError(
                        f"{path}: its bytes have changed; copy it again, or pack the corpus again"
                    )
    return found.manifest
