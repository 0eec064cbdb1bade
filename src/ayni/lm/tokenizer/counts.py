"""How often each pre-token stands in a site's texts: the one thing that leaves for the tokenizer.

A file of counts is JSON lines: a header (see `Header`), then `[language, word, count]`, sorted. Only
words are in it that stand in at least `threshold` documents of that language at the site. Equal texts
give equal files, byte for byte.
"""

from __future__ import annotations

import heapq
import itertools
import json
import re
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from types import TracebackType
from typing import IO, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ayni.errors import UserError
from ayni.lm.corpus import heldout, languages
from ayni.lm.corpus.documents import Document
from ayni.lm.faults import first_fault
from ayni.lm.files import written
from ayni.lm.tokenizer.pretokens import WORD, is_pretoken, pretokens
from ayni.terminal import one_line

THRESHOLD = 5  # documents
MAX_WORD = 256  # UTF-8 bytes; what is longer is no word, and does not leave
ROOM = 2_000_000  # distinct words in memory while counting
MAX_RUNS = 64  # files open at once
MAX_WORDS = 4_000_000  # in a file that is read
MAX_HEADER = 1 << 20  # bytes
MAX_LINE = 4 << 10  # bytes
MAX_COUNT = 1 << 48
MAX_LANGUAGES = 2000

Whole = Annotated[int, Field(ge=0, le=MAX_COUNT)]
_SURROGATE = re.compile("[\ud800-\udfff]")
_Row = tuple[str, str, int, int]  # language, word, occurrences, documents


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Totals(_Strict):
    """Of one language at a site, without what is held out. `words` counts those too that do not leave."""

    documents: Whole
    bytes: Whole
    words: Whole


class Header(_Strict):
    """The first line of a file of counts."""

    format: Literal["ayni-counts/1"] = "ayni-counts/1"
    pattern: str = WORD
    threshold: Annotated[int, Field(ge=1, le=MAX_COUNT)]
    heldout: Annotated[float, Field(ge=0, lt=1)]
    languages: Annotated[dict[str, Totals], Field(max_length=MAX_LANGUAGES)]


@dataclass(frozen=True)
class Counts:
    """What a site sent."""

    header: Header
    words: dict[str, dict[str, int]]  # by language


class WordCounter:
    """Counts documents' words as they come; where they do not fit into memory, by way of sorted files.

    Languages are counted without their region: `es-CL` and `es-MX` are `es`.
    """

    def __init__(
        self, share: float = heldout.SHARE, threshold: int = THRESHOLD, room: int = ROOM
    ) -> None:
        self._share = share
        self._threshold = threshold
        self._room = room
        self._counts: dict[str, Counter[str]] = {}
        self._documents: dict[str, Counter[str]] = {}
        self._totals: dict[str, Counter[str]] = {}
        self._source = ""
        self._seen: set[str] = set()  # words of the present source
        self._runs: list[IO[str]] = []
        self._distinct = 0

    def __enter__(self) -> WordCounter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        for run in self._runs:
            run.close()

    def add(self, document: Document) -> None:
        """Count the part of a document that is not held out."""
        text = heldout.split(document, self._share).train
        if not text:
            return
        language = languages.base(document.language)
        totals = self._totals.setdefault(language, Counter())
        if document.source != self._source:
            self._source, self._seen = document.source, set()
            totals["documents"] += 1
        words = Counter(pretokens(text))
        totals["bytes"] += len(text.encode())
        totals["words"] += words.total()
        counts = self._counts.setdefault(language, Counter())
        before = len(counts)
        counts.update(words)
        self._documents.setdefault(language, Counter()).update(words.keys() - self._seen)
        self._seen |= words.keys()
        self._distinct += len(counts) - before
        if self._distinct > self._room:
            self._spill()

    def write(self, path: Path) -> Header:
        """Write the file of counts, whole or not at all."""
        header = Header(
            threshold=self._threshold,
            heldout=self._share,
            languages={
                language: Totals(
                    documents=totals["documents"], bytes=totals["bytes"], words=totals["words"]
                )
                for language, totals in sorted(self._totals.items())
            },
        )
        with written(path) as file:
            file.write(header.model_dump_json().encode() + b"\n")
            for language, word, count, documents in _merged(self._runs, self._sorted()):
                if documents >= self._threshold and len(word.encode()) <= MAX_WORD:
                    file.write(_line([language, word, count]).encode())
        return header

    def _sorted(self) -> Iterator[_Row]:
        for language in sorted(self._counts):
            documents = self._documents[language]
            for word, count in sorted(self._counts[language].items()):
                yield language, word, count, documents[word]

    def _spill(self) -> None:
        """Write what is in memory to a sorted file; many of those become one."""
        try:
            self._runs.append(_run(self._sorted()))
            if len(self._runs) >= MAX_RUNS:
                merged = _run(_merged(self._runs))
                for run in self._runs:
                    run.close()
                self._runs = [merged]
        except OSError as error:
            raise UserError(
                f"{tempfile.gettempdir()}: {error.strerror}; make room, or set TMPDIR to another folder"
            ) from error
        self._counts.clear()
        self._documents.clear()
        self._distinct = 0


def _run(rows: Iterable[_Row]) -> IO[str]:
    """A file without a name that holds the rows."""
    run = tempfile.TemporaryFile("w+", encoding="utf-8", newline="\n")  # noqa: SIM115  # __exit__ closes it
    run.writelines(_line(list(row)) for row in rows)
    run.flush()
    return run


def _merged(runs: Sequence[IO[str]], more: Iterable[_Row] = ()) -> Iterator[_Row]:
    """The rows of sorted files, in order, those of one word added up."""
    for run in runs:
        run.seek(0)
    rows = heapq.merge(*(map(_row, run) for run in runs), more)
    for (language, word), same in itertools.groupby(rows, key=itemgetter(0, 1)):
        found = list(same)
        yield language, word, sum(row[2] for row in found), sum(row[3] for row in found)


def _line(values: list[Any]) -> str:
    return json.dumps(values, ensure_ascii=False, separators=(",", ":")) + "\n"


def _row(line: str) -> _Row:
    language, word, count, documents = json.loads(line)
    return language, word, count, documents


def read(path: Path) -> Counts:
    """A file of counts from anybody.

    Raises:
        UserError: it breaks a rule of the format; the message names the line and the remedy.
    """
    try:
        with path.open("rb") as file:
            header = _header(path, file.readline(MAX_HEADER + 1))
            words: dict[str, dict[str, int]] = {language: {} for language in header.languages}
            last = ("", "")
            for number in range(2, MAX_WORDS + 3):
                line = file.readline(MAX_LINE + 1)
                if not line:
                    return _checked(path, Counts(header, words))
                language, word, count = _entry(line, header, f"{path}: line {number}")
                if (language, word) <= last:
                    raise UserError(f"{path}: line {number}: not sorted; count again at that site")
                last = (language, word)
                words[language][word] = count
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; name a file of counts") from error
    raise UserError(f"{path}: more than {MAX_WORDS} words; raise the threshold at that site")


def _header(path: Path, line: bytes) -> Header:
    try:
        header = Header.model_validate_json(line)
    except ValidationError as error:
        raise UserError(
            one_line(
                f"{path}: {first_fault(error, 'header')}; make it with 'ayni lm tokenizer count'"
            )
        ) from error
    if header.pattern != WORD:
        raise UserError(
            f"{path}: pattern: words were cut otherwise; count with the same ayni at all sites"
        )
    for language in header.languages:
        if not _is_base(language):
            raise UserError(one_line(f"{path}: languages: {language[:64]!r} is no language tag"))
    return header


def _is_base(language: str) -> bool:
    try:
        return languages.base(languages.tag(language)) == language
    except ValueError:
        return False


def _entry(line: bytes, header: Header, where: str) -> tuple[str, str, int]:
    remedy = "count again at that site"
    try:
        found = json.loads(line) if len(line) <= MAX_LINE and line.endswith(b"\n") else None
    except (ValueError, RecursionError) as error:
        raise UserError(one_line(f"{where}: no JSON ({error}); {remedy}")) from error
    if not isinstance(found, list) or list(map(type, found)) != [str, str, int]:
        raise UserError(f"{where}: not [language, word, count]; {remedy}")
    language, word, count = found
    if language not in header.languages:
        raise UserError(f"{where}: a language that the header does not list; {remedy}")
    if not header.threshold <= count <= MAX_COUNT:
        raise UserError(f"{where}: count: not between {header.threshold} and {MAX_COUNT}; {remedy}")
    if _SURROGATE.search(word) or len(word.encode()) > MAX_WORD or not is_pretoken(word):
        raise UserError(f"{where}: word: not one that the pattern gives; {remedy}")
    return language, word, count


def _checked(path: Path, counts: Counts) -> Counts:
    for language, words in counts.words.items():
        if sum(words.values()) > counts.header.languages[language].words:
            raise UserError(
                f"{path}: languages.{language}.words: fewer than the counts' sum; count again at that site"
            )
    return counts
