"""The Universal Declaration of Human Rights, as npm fetches it: from the archive to shards."""

from __future__ import annotations

from pathlib import Path

import pytest

from ayni.demo import udhr
from ayni.lm.corpus import heldout, pack, read
from ayni.lm.corpus.documents import Document, Tally
from ayni.lm.corpus.shards import FOLDS, Origin, Shards, verify
from ayni.lm.tokenizer import bpe, model
from ayni.lm.tokenizer.counts import WordCounter
from ayni.lm.tokenizer.counts import read as read_counts
from ayni.lm.tokenizer.fertility import fertility
from ayni.lm.tokenizer.weigh import weigh

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> list[read.Source]:
    try:
        archive = udhr.fetch(tmp_path_factory.mktemp("udhr"))
    except udhr.NotHere as error:
        pytest.skip(str(error))
    return read.sources([archive], udhr.RULES)


@pytest.fixture(scope="module")
def documents(sources: list[read.Source]) -> list[Document]:
    return list(read.read(sources, Tally()))


def test_all_pages_are_read_but_those_without_a_language(
    sources: list[read.Source], documents: list[Document]
) -> None:
    tally = Tally()
    assert list(read.read(sources, tally)) == documents
    pages = {document.source.partition("#")[0] for document in documents}
    assert len(pages) == 522  # of 532; ten say that their language is "und"
    assert all("no language" in why for _, why in tally.named)
    spanish = [d for d in documents if "/spa.html" in d.source]
    assert [d.group for d in spanish] == [f"udhr/{number}" for number in range(31)]
    assert spanish[1].text.startswith(
        "Artículo 1\n\nTodos los seres humanos nacen libres e iguales"
    )


def test_the_same_articles_are_held_out_in_all_languages(documents: list[Document]) -> None:
    held = {d.group for d in documents if heldout.split(d).heldout}
    kept = {d.group for d in documents if heldout.split(d).train}
    assert held
    assert not held & kept


def test_from_the_archive_to_shards(
    sources: list[read.Source], documents: list[Document], tmp_path: Path
) -> None:
    with WordCounter() as counter:
        for document in documents:
            counter.add(document)
        counter.write(tmp_path / "counts.jsonl")
    weighed = weigh([read_counts(tmp_path / "counts.jsonl")])
    merges = bpe.learn({word.encode(): n for word, n in weighed.words.items()}, 4000)
    model.save(merges, tmp_path / "tokenizer")
    loaded = model.load(tmp_path / "tokenizer")
    pack.Packer(sources, tmp_path / "shards", loaded, Origin(member="CL", site="santiago")).run()
    manifest = verify(tmp_path / "shards")
    texts = {
        fold: [text for d in documents if (text := getattr(heldout.split(d), fold))]
        for fold in FOLDS
    }
    for fold in FOLDS:
        found = Shards(tmp_path / "shards", fold)
        assert len(found) == len(texts[fold])
        for number in range(0, len(found), 97):
            assert loaded.tokenizer.decode(found.tokens(number)[:-1]) == texts[fold][number]
    paid = fertility(loaded.tokenizer, documents)
    assert paid.keys() == manifest.amounts["train"].keys()
    assert 1 < paid["es"].tokens_per_word < 3
