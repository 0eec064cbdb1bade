"""Texts of three sites, as shards: Spanish, the own languages of its country, its share of the others."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from ayni.demo import udhr
from ayni.demo.alliance import SITE_OF
from ayni.demo.atlas.corpus import languages
from ayni.lm.corpus.documents import Tally
from ayni.lm.corpus.pack import Packer
from ayni.lm.corpus.read import read, sources
from ayni.lm.corpus.shards import Origin, load_manifest
from ayni.lm.tokenizer import bpe, counts, model
from ayni.lm.tokenizer.weigh import weigh

WORDS = 400  # of the tokenizer, at most
HELD_OUT = 0.1


@dataclass(frozen=True)
class Texts:
    """Folders of shards, by site, and how many words their tokenizer has."""

    shards: dict[str, Path]
    words: int


def prepare(folder: Path, *, whole: bool = False) -> Texts:
    """Lay out, learn one tokenizer from what may leave, and pack.

    Args:
        whole: the Universal Declaration of Human Rights, fetched by npm, in place of the passages that
            are here.

    Raises:
        udhr.NotHere: it cannot be fetched.
    """
    places = {site: folder / "texts" / site for site in SITE_OF.values()}
    for place in places.values():
        place.mkdir(parents=True)
    if whole:
        udhr.lay_out(udhr.fetch(folder), places)
    else:
        _passages(places)
    said = []
    for site, place in places.items():
        with counts.WordCounter(HELD_OUT, threshold=2) as counter:
            for document in read(sources([place]), Tally()):
                counter.add(document)
            counter.write(folder / f"{site}.jsonl")
        said.append(counts.read(folder / f"{site}.jsonl"))
    weighed = {word.encode(): count for word, count in weigh(said).words.items()}
    merges = bpe.learn(weighed, WORDS - model.SMALLEST)
    loaded = model.load(model.save(merges, folder / "tokenizer"))
    shards = {site: folder / f"shards-{site}" for site in places}
    for (member, site), place in zip(SITE_OF.items(), places.values(), strict=True):
        origin = Origin(member=member, site=site)
        Packer(sources([place]), shards[site], loaded, origin, HELD_OUT).run()
    return Texts(shards, load_manifest(shards["bogota"]).tokenizer.size)


def _passages(places: dict[str, Path]) -> None:
    lines: dict[str, list[str]] = {site: [] for site in places}
    for place, language in enumerate(languages()):
        others = [list(places)[place % len(places)]]
        own = [SITE_OF[language.member]] if language.member else others
        tag = language.id.partition("_")[0]
        for site in places if tag == "es" else own:
            for text in dict.fromkeys(
                language.text.splitlines()
            ):  # a passage may stand there twice
                lines[site].append(json.dumps({"language": tag, "text": text}) + "\n")
    for site, place in places.items():
        (place / "passages.jsonl").write_text("".join(lines[site]))
