"""From documents to shards, in bounded memory; a run that was cut off goes on where it was."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ayni.errors import UserError
from ayni.lm.corpus import canaries, heldout, read, shards
from ayni.lm.corpus.canaries import Canaries
from ayni.lm.corpus.documents import Document, Tally
from ayni.lm.corpus.read import Source
from ayni.lm.corpus.shards import FOLDS, Amount, Fold, Manifest, Next, Origin, Shard, TokenizerFacts
from ayni.lm.files import written
from ayni.lm.tokenizer.model import Loaded

SHARD_TOKENS = 32 << 20  # gathered in memory until they are written
BATCH = 1 << 20  # characters encoded at once
_END = 1 << 16  # bytes of a file's beginning, and of its end, by which it is known again

Progress = Callable[[int], None]  # bytes of files that are done


@dataclass
class Gathered:
    """What the next shard of a fold will hold."""

    tokens: list[NDArray[Any]] = field(default_factory=list)
    groups: list[int] = field(default_factory=list)
    languages: list[int] = field(default_factory=list)

    def write(self, path: Path, dtype: np.dtype[Any]) -> tuple[str, str]:
        """Write `path` with .bin and .idx, and give their hashes. The origin is always the first."""
        count = len(self.tokens)
        offsets = np.zeros(count + 1, "<u8")
        np.cumsum([len(ids) for ids in self.tokens], out=offsets[1:], dtype="<u8")
        index = [offsets, np.array(self.groups, "<u8"), np.array(self.languages, "<u2")]
        index.append(np.zeros(count, "<u2"))
        header = shards.HEADER.pack(shards.MAGIC, count, int(offsets[-1]))
        return (
            _save(
                path.with_suffix(".bin"),
                (ids.astype(dtype, copy=False).tobytes() for ids in self.tokens),
            ),
            _save(path.with_suffix(".idx"), (header, *(array.tobytes() for array in index))),
        )


def _save(path: Path, parts: Any) -> str:
    digest = hashlib.blake2b(digest_size=32)
    with written(path) as file:
        for part in parts:
            file.write(part)
            digest.update(part)
    return digest.hexdigest()


class Packer:
    """Encodes all documents of the sources into a folder of shards.

    `share` of the paragraphs is held out; a shard is written when `shard_tokens` are gathered. Where
    canaries are `planted`, they are documents of the last shard to train on, and their file lies beside it.

    Raises:
        UserError: the folder holds shards of other texts, or made otherwise.
    """

    def __init__(
        self,
        found: Sequence[Source],
        folder: Path,
        tokenizer: Loaded,
        origin: Origin,
        share: float = heldout.SHARE,
        shard_tokens: int = SHARD_TOKENS,
        planted: Canaries | None = None,
    ) -> None:
        self._found = found
        self._folder = folder
        self._tokenizer = tokenizer
        self._share = share
        self._most = shard_tokens
        self._planted = planted
        facts = TokenizerFacts(sha256=tokenizer.sha256, size=tokenizer.size, end=tokenizer.end)
        fresh = Manifest(
            tokenizer=facts,
            heldout=share,
            input=_input(found, facts, origin, share, shard_tokens, planted),
            next=Next(file=0, document=0),
            languages=[],
            origins=[origin],
            amounts={fold: {} for fold in FOLDS},
            shards=[],
        )
        self.manifest = self._resumed(fresh)
        self._places = {tag: place for place, tag in enumerate(self.manifest.languages)}
        self.tally = Tally(broken=self.manifest.broken)
        self._waiting: list[tuple[Fold, Document, str]] = []
        self._characters = 0
        self._gathered: dict[Fold, Gathered] = {fold: Gathered() for fold in FOLDS}
        self._tokens = 0

    def _resumed(self, fresh: Manifest) -> Manifest:
        if not (self._folder / shards.MANIFEST).exists():
            return fresh
        found = shards.load_manifest(self._folder)
        if found.input != fresh.input:
            raise UserError(
                f"{self._folder}: holds shards of other texts, or made otherwise; name a new folder"
            )
        return found

    def run(self, progress: Progress = lambda done: None) -> Manifest:
        """Read, encode, write. Does nothing if all is done.

        Raises:
            UserError: there is no text, or none that is not held out.
        """
        start = self.manifest.next
        if start is None:
            return self.manifest
        done = sum(source.size for source in self._found[: start.file])
        for number, source in enumerate(self._found[start.file :], start=start.file):
            progress(done)
            self._file(number, source, start.document if number == start.file else 0)
            done += source.size
        self._encode()
        if not (self.manifest.amounts["train"] or self._gathered["train"].tokens):
            raise UserError(self._no_text())
        self._plant()
        self._flush(None)
        for left in self._folder.glob(".*.part"):
            left.unlink(missing_ok=True)  # by a run that was killed while it wrote
        progress(done)
        return self.manifest

    def _no_text(self) -> str:
        if self._gathered["heldout"].tokens:
            return "all of the text is held out; give more of it, or a smaller --held-out"
        return read.nothing(self._found, self.tally)

    def _file(self, number: int, source: Source, skip: int) -> None:
        for place, document in enumerate(read.documents(source, self.tally), start=1):
            if place <= skip:
                self.tally.broken = self.manifest.broken  # those before are counted already
                continue
            self._take(document)
            if self._characters >= BATCH:
                self._encode()
                if self._tokens >= self._most:
                    self._flush(Next(file=number, document=place))

    def _take(self, document: Document) -> None:
        folds = heldout.split(document, self._share)
        for fold, text in ((FOLDS[0], folds.train), (FOLDS[1], folds.heldout)):
            if text.strip():
                self._waiting.append((fold, document, text))
                self._characters += len(text)

    def _plant(self) -> None:
        if self._planted is None:
            return
        for tokens in self._planted.documents():
            self._gather(FOLDS[0], tokens.tolist(), canaries.LANGUAGE)
        canaries.save(self._planted, self._folder)

    def _encode(self) -> None:
        texts = [text for _, _, text in self._waiting]
        encoded = self._tokenizer.tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        for (fold, document, text), encoding in zip(self._waiting, encoded, strict=True):
            self._gather(fold, encoding.ids, document.language, document.group, len(text.encode()))
        self._waiting, self._characters = [], 0

    def _gather(
        self, fold: Fold, tokens: list[int], language: str, group: str | None = None, size: int = 0
    ) -> None:
        """Take a document to a fold; `size` in bytes of its text."""
        ids = np.array([*tokens, self._tokenizer.end], self.manifest.dtype)
        gathered = self._gathered[fold]
        gathered.tokens.append(ids)
        gathered.groups.append(shards.group_number(group))
        gathered.languages.append(self._language(language))
        amount = self.manifest.amounts[fold].setdefault(language, Amount())
        amount.documents += 1
        amount.tokens += len(ids)
        amount.bytes += size
        self._tokens += len(ids)

    def _language(self, tag: str) -> int:
        """The tag's place in the manifest's list, which it is added to."""
        if tag not in self._places:
            self._places[tag] = len(self._places)
            self.manifest.languages.append(tag)
        return self._places[tag]

    def _flush(self, after: Next | None) -> None:
        """Write what was gathered, then the manifest: from now on a new run begins `after` it."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for fold, gathered in self._gathered.items():
            if gathered.tokens:
                self.manifest.shards.append(self._shard(fold, gathered))
        self.manifest.next = after
        self.manifest.broken = self.tally.broken
        shards.save_manifest(self._folder, self.manifest)
        self._gathered = {fold: Gathered() for fold in FOLDS}
        self._tokens = 0

    def _shard(self, fold: Fold, gathered: Gathered) -> Shard:
        number = sum(shard.fold == fold for shard in self.manifest.shards)
        name = f"{fold}-{number:05d}"
        bin_hash, idx_hash = gathered.write(self._folder / name, self.manifest.dtype)
        return Shard(
            fold=fold,
            number=number,
            documents=len(gathered.tokens),
            tokens=sum(map(len, gathered.tokens)),
            bin=bin_hash,
            idx=idx_hash,
        )


def _input(
    found: Sequence[Source],
    facts: TokenizerFacts,
    origin: Origin,
    share: float,
    most: int,
    planted: Canaries | None,
) -> str:
    """A hash of all that decides what the shards hold.

    Of a file, its name, size, beginning and end: paths and times differ between two tries of a task.
    """
    files = [[s.name, s.size, _ends(s.path, s.size), s.rules.model_dump_json()] for s in found]
    made = [facts.model_dump(), origin.model_dump(), share, most, files]
    made += [planted.model_dump()] if planted else []
    return hashlib.blake2b(json.dumps(made).encode(), digest_size=32).hexdigest()


def _ends(path: Path, size: int) -> str:
    try:
        with path.open("rb") as file:
            head = file.read(_END)
            file.seek(max(0, size - _END))
            return hashlib.blake2b(head + file.read(_END), digest_size=16).hexdigest()
    except OSError:
        return ""  # reading it will say so, and go on
