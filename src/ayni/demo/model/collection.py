"""A collection of one's own for the demo's model: dealt to the sites, and read before anything starts."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ayni.errors import UserError

if TYPE_CHECKING:
    from ayni.lm.corpus.documents import Tally

RULES = "corpus.toml"
LEAST = 8192  # bytes to train on at each site: less is read over and over
LEAST_HELD_OUT = 512  # bytes at all sites together
MOST_HELD_OUT = 1 << 18  # bytes at all sites: five models are judged by them, on a laptop
FEW = 5  # documents that a word must stand in to leave a site


@dataclass(frozen=True)
class Look:
    """What there is. `languages`: in how many sites each is; `bytes` of text; `held_out`: which part."""

    documents: int
    bytes: int
    languages: Mapping[str, int]
    held_out: float

    @property
    def shared(self) -> frozenset[str]:
        """The languages that several sites hold."""
        return frozenset(name for name, sites in self.languages.items() if sites > 1)

    @property
    def told(self) -> str:
        names = sorted(self.languages)
        some = ", ".join(names) if len(names) <= FEW else f"{len(names)} languages"
        return f"{self.documents} documents in {some} ({self.bytes / 1e6:.1f} MB)"


def deal(corpus: Path, places: Mapping[str, Path]) -> None:
    """Copy a collection: a folder with a site's name to that site, all other files to each in turn.

    Raises:
        UserError: a file that cannot be read, rules that are none, or too few files for three sites.
    """
    from ayni.lm.corpus import rules

    shares = _shares(corpus, list(places))
    if lacking := [site for site, share in shares.items() if not share]:
        raise UserError(
            f"--corpus: {corpus} has no text for {', '.join(lacking)}; give it more files, or a "
            f"subfolder to each of {', '.join(places)}"
        )
    for site, share in shares.items():
        for path, name in share:
            _copy(path, places[site] / name, site)
        own = corpus / site / RULES
        found = own if own.is_file() else corpus / RULES
        rules.load(found.parent, {})  # what is wrong is told of the file itself, not of its copy
        if found.is_file():
            _copy(found, places[site] / RULES, site)


def _shares(corpus: Path, sites: Sequence[str]) -> dict[str, list[tuple[Path, Path]]]:
    """For each site the texts that it gets, and their names there."""
    shares: dict[str, list[tuple[Path, Path]]] = {site: [] for site in sites}
    others = []
    for path in _texts(corpus):
        name = path.relative_to(corpus)
        if len(name.parts) > 1 and name.parts[0] in shares:
            shares[name.parts[0]].append((path, Path(*name.parts[1:])))
        else:
            others.append(name)
    for n, name in enumerate(sorted(others, key=_hash)):
        shares[sites[n % len(sites)]].append((corpus / name, name))
    return shares


def _files(corpus: Path) -> Iterator[Path]:
    """All files but hidden ones, in an order that does not depend on the machine."""

    def refuse(error: OSError) -> None:
        raise _unreadable(Path(error.filename or corpus), error) from error

    for folder, folders, names in os.walk(corpus, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(folder, name)
            if not name.startswith(".") and path.is_file():
                yield path


def _texts(corpus: Path) -> list[Path]:
    from ayni.lm.corpus import read

    files = list(_files(corpus))
    found = [path for path in files if path.name != RULES and read.readable(path.name)]
    if not found:
        suffixes = Counter(path.suffix or path.name for path in files)
        what = ", ".join(name for name, _ in suffixes.most_common(FEW))
        raise UserError(
            f"--corpus: no text in {corpus}{f' (only {what})' if what else ''}; put files of text, HTML, "
            "JSONL or Parquet there, or archives"
        )
    return found


def _copy(path: Path, target: Path, site: str) -> None:
    if target.exists():
        raise UserError(f"--corpus: {path} has the name of another text of {site}; rename it")
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        source = path.open("rb")
    except OSError as error:
        raise _unreadable(path, error) from error
    with source, target.open("wb") as file:
        shutil.copyfileobj(source, file)


def _unreadable(path: Path, error: OSError) -> UserError:
    return UserError(
        f"--corpus: {path} cannot be read ({error.strerror}); make it readable, or take it away"
    )


def _hash(path: Path) -> bytes:
    return hashlib.blake2b(path.as_posix().encode("utf-8", "surrogateescape")).digest()


def look(corpus: Path, places: Mapping[str, Path], share: float) -> Look:
    """Read all of it once, as the sites' tasks will. At most `share` of it is held out.

    Raises:
        UserError: what lacks for a model of three sites, and the remedy.
    """
    seen = [_look_at(corpus, site, place, share) for site, place in places.items()]
    tallies = [tally for tally, _ in seen]
    if all(count < FEW for tally in tallies for count in tally.documents.values()):
        raise UserError(
            f"--corpus: {corpus} has fewer than {FEW} documents of a language at each site, and only "
            f"words that stand in {FEW} leave one for the tokenizer; give it more files, or write "
            f'split = "line" in its {RULES}'
        )
    if (held := sum(bytes_ for _, bytes_ in seen)) < LEAST_HELD_OUT:
        raise UserError(
            f"--corpus: only {held} bytes of {corpus} are held out, to judge the models by; give it "
            "more text"
        )
    total = sum(tally.bytes.total() for tally in tallies)
    return Look(
        documents=sum(tally.documents.total() for tally in tallies),
        bytes=total,
        languages=Counter(name for tally in tallies for name in tally.documents),
        held_out=round(min(share, MOST_HELD_OUT / total), 6),
    )


def _look_at(corpus: Path, site: str, place: Path, share: float) -> tuple[Tally, int]:
    """What a site has, and the bytes of it that are held out."""
    from ayni.lm.corpus import heldout, read
    from ayni.lm.corpus.documents import Tally

    tally, held = Tally(), 0
    try:
        for document in read.read(read.sources([place], {}, None), tally):
            held += len(heldout.split(document, share).heldout.encode())
    except UserError as error:
        raise UserError(f"--corpus: {corpus}, the texts for {site}: {error}") from error
    if (left := tally.bytes.total() - held) < LEAST:
        raise UserError(
            f"--corpus: {corpus} has {left} bytes of text for {site} to train on; give it {LEAST} or more"
        )
    return tally, held
