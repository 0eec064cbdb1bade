"""Documents out of files and folders, one after the other; never a corpus in memory."""

from __future__ import annotations

import codecs
import io
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from ayni.errors import UserError
from ayni.lm.corpus import html, rules, streams, tables
from ayni.lm.corpus.documents import Document, Tally, Unreadable, clean
from ayni.lm.corpus.rules import Rules

TEXTS = frozenset(["", ".txt", ".text", ".md", ".rst"])
PAGES = frozenset([".html", ".htm", ".xhtml"])
LINES = frozenset([".jsonl", ".ndjson"])
MAX_PAGE = 8 << 20  # bytes
PIECE = 4 << 20  # characters of a plain text that become one document; a longer one is several
_SNIFFED = 4096


@dataclass(frozen=True, slots=True)
class Source:
    """A file to be read. `name` is its path beneath what was named; with `rules` of that folder."""

    path: Path
    name: str
    rules: Rules
    size: int


def sources(
    paths: Sequence[Path], given: Mapping[str, str] | None = None, file: Path | None = None
) -> list[Source]:
    """Every file beneath the paths, in an order that does not depend on the machine.

    Hidden files are left out; links to folders are not followed. `given` and `file` as in `rules.load`.

    Raises:
        UserError: a path that is not there, or holds nothing.
    """
    found: list[Source] = []
    for path in paths:
        if not path.exists():
            raise UserError(f"{path}: there is no such file or folder; name the texts")
        folder = path if path.is_dir() else path.parent
        read = rules.load(folder, given or {}, file)
        files = sorted(_beneath(path), key=lambda one: one.relative_to(folder).as_posix())
        if not files:
            raise UserError(f"{path}: no files in it; name a folder with texts")
        found += [
            Source(one, one.relative_to(folder).as_posix(), read, one.stat().st_size)
            for one in files
        ]
    return found


def readable(name: str) -> bool:
    """Whether a file of this name is of a format that is read here."""
    kind = streams.kind(name)
    archive = kind.suffix == ".tar" or (
        kind.suffix in (".zip", ".parquet") and not kind.compression
    )
    return archive or kind.suffix in TEXTS | PAGES | LINES


def _beneath(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
    for folder, folders, files in os.walk(path):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            file = Path(folder, name)
            if not name.startswith(".") and name != rules.FILE and file.is_file():
                yield file


def read(
    found: Sequence[Source], tally: Tally, progress: Callable[[int], None] = lambda size: None
) -> Iterator[Document]:
    """All documents of all files. `tally` counts them, and names those that cannot be read.

    `progress` is told each file's size in bytes once it is done.

    Raises:
        UserError: at the end, if there was none.
    """
    for source in found:
        yield from documents(source, tally)
        progress(source.size)
    if not tally.documents:
        raise UserError(nothing(found, tally))


def nothing(found: Sequence[Source], tally: Tally) -> str:
    """Why there is no document in these files, and the remedy."""
    if why := tally.commonest():
        return f"no document could be read; of {tally.broken} that failed, {why}"
    suffixes = ", ".join(sorted(tally.skipped)[:8])
    more = f" (only {suffixes})" if suffixes else ""
    return f"no text in {len(found)} files{more}; name files of text, HTML, JSONL or Parquet, or archives"


def documents(source: Source, tally: Tally) -> Iterator[Document]:
    """The documents of one file."""
    reader = _Reader(source, tally)
    try:
        with streams.damage(), source.path.open("rb") as file:
            yield from reader.file(file)
    except Unreadable as error:
        tally.lose(source.name, error)


class _Reader:
    """Reads one file. What it cannot read is told to the tally, and reading goes on behind it."""

    def __init__(self, source: Source, tally: Tally) -> None:
        self._source = source
        self._rules = source.rules
        self._tally = tally

    def file(self, file: BinaryIO) -> Iterator[Document]:
        name, size = self._source.name, self._source.size
        kind = streams.kind(name)
        if kind.suffix == ".parquet" and not kind.compression:
            yield from self._records(name, name, tables.parquet(file, self._rules.fields))
        elif kind.suffix == ".zip" and not kind.compression:
            yield from self._archive(name, streams.zip_members(file, size))
        elif kind.suffix == ".tar":
            plain = streams.unpacked(file, kind.compression, size)
            yield from self._archive(name, streams.tar_members(plain))
        else:
            yield from self._texts(name, name, file, size)

    def _archive(self, name: str, members: Iterator[streams.Member]) -> Iterator[Document]:
        for member in members:
            source = f"{name}!{member.name[: streams.MAX_NAME]}"
            if len(member.name) > streams.MAX_NAME:
                self._tally.lose(source, "a longer name than any file has")
                continue
            if member.name.rpartition("/")[2].startswith("."):
                continue
            try:
                with streams.damage():
                    yield from self._texts(member.name, source, member.open, member.size)
            except Unreadable as error:
                self._tally.lose(source, error)

    def _texts(self, name: str, source: str, opened: Any, size: int) -> Iterator[Document]:
        """The documents of a file, or member of an archive, of one of the plain formats."""
        kind = streams.kind(name)
        if kind.suffix not in TEXTS | PAGES | LINES:
            if kind.suffix in (".zip", ".tar", ".parquet"):
                raise Unreadable("not read within an archive or compressed: unpack it first")
            self._tally.skipped[kind.suffix] += 1
            return
        packed = cast(BinaryIO, opened() if callable(opened) else opened)
        stream = streams.unpacked(packed, kind.compression, size)
        if kind.suffix in LINES:
            yield from self._records(name, source, tables.json_lines(stream, self._rules.fields))
        elif kind.suffix in PAGES:
            yield from self._page(name, source, stream)
        else:
            yield from self._plain(name, source, stream)

    def _plain(self, name: str, source: str, stream: BinaryIO) -> Iterator[Document]:
        line = 1
        for piece in pieces(stream, self._rules.encoding):
            yield from self._made(name, source, piece, None, None, line=line)
            line += piece.count("\n")

    def _page(self, name: str, source: str, stream: BinaryIO) -> Iterator[Document]:
        data = stream.read(MAX_PAGE + 1)
        if len(data) > MAX_PAGE:
            raise Unreadable(f"a page of more than {MAX_PAGE} bytes; divide it")
        by_article = self._rules.split == "article"
        for part in html.parts(html.decode(data, self._rules.encoding), by_article):
            number = part.number if by_article else None
            yield from self._made(name, source, part.text, part.language, None, number)

    def _records(
        self, name: str, source: str, numbered: Iterator[tables.Numbered]
    ) -> Iterator[Document]:
        for number, found in numbered:
            place = f"{source}#{number}"
            if isinstance(found, Unreadable):
                self._tally.lose(place, found)
            else:
                yield from self._made(name, place, found.text, found.language, found.group)

    def _made(
        self,
        name: str,
        source: str,
        text: str,
        language: str | None,
        group: str | None,
        number: int | None = None,
        line: int = 1,
    ) -> Iterator[Document]:
        """The document, or one to each line of it, the first of which is `line`.

        A number makes it a part of what `source` names.
        """
        try:
            tag = self._rules.language_of(name, language)
        except Unreadable as error:
            self._tally.lose(source, error)
            return
        group = self._rules.group_of(name, group)
        parts: Iterable[tuple[int | None, str]] = [(number, text)]
        if self._rules.split == "line":
            # Before it is cleaned: other marks that end a line there must not shift the translations.
            parts = enumerate(text.split("\n"), start=line)
        for place, part in parts:
            one = group if group is None or place is None else f"{group}/{place}"
            at = source if place is None else f"{source}#{place}"
            try:
                document = Document(clean(part), tag, at, one)
                if not document.text.strip():
                    continue
                self._tally.add(document)
            except Unreadable as error:
                self._tally.lose(at, error)
            else:
                yield document


def pieces(stream: BinaryIO, encoding: str, most: int = PIECE) -> Iterator[str]:
    """A plain text; one of more than `most` characters in pieces, divided between paragraphs or lines.

    `stream` is buffered.

    Raises:
        Unreadable: binary, or not in the encoding.
    """
    head = cast(io.BufferedReader, stream).peek(_SNIFFED)[:_SNIFFED]
    name = "utf-8-sig" if encoding in ("utf-8", "utf8") else encoding
    if head[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        name = "utf-16"
    elif b"\0" in head and not name.startswith("utf-16"):
        raise Unreadable("binary, not text; leave it out")
    characters = io.TextIOWrapper(cast(Any, stream), name)
    rest = ""
    try:
        while block := characters.read(max(1, most - len(rest))):
            rest += block
            if len(rest) >= most:
                cut = max(rest.rfind("\n\n") + 2, 0) if "\n\n" in rest else rest.rfind("\n") + 1
                cut = cut or most
                yield rest[:cut]
                rest = rest[cut:]
    except (UnicodeDecodeError, LookupError) as error:
        raise Unreadable(f"not in {name} ({error}); name it with --rule encoding=NAME") from error
    finally:
        characters.detach()  # the stream is not ours to close
    if rest:
        yield rest
