"""Counts of words: what leaves a site for the tokenizer."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ayni.errors import UserError
from ayni.lm.corpus import heldout
from ayni.lm.corpus.documents import Document
from ayni.lm.tokenizer import counts
from ayni.lm.tokenizer.counts import WordCounter, read
from ayni.lm.tokenizer.pretokens import WORD, pretokens

TEXTS = st.lists(
    st.tuples(st.text(st.sampled_from("ab ñ\n'1"), max_size=12), st.sampled_from(["es-CL", "es", "quy"])),
    min_size=1, max_size=20,
)  # fmt: skip


def count(
    path: Path, documents: list[Document], share: float = 0.0, **options: int
) -> counts.Header:
    with WordCounter(share, **options) as counter:
        for document in documents:
            counter.add(document)
        return counter.write(path)


def of(texts: list[tuple[str, str]]) -> list[Document]:
    return [Document(text, language, f"d{place}") for place, (text, language) in enumerate(texts)]


@given(texts=TEXTS, threshold=st.integers(1, 4), room=st.sampled_from([1, 3, 10**6]))
def test_only_words_of_enough_documents_leave_in_memory_or_by_way_of_files(
    tmp_path_factory: pytest.TempPathFactory,
    texts: list[tuple[str, str]],
    threshold: int,
    room: int,
) -> None:
    path = tmp_path_factory.mktemp("counts") / "c.jsonl"
    header = count(path, of(texts), threshold=threshold, room=room)
    expected: dict[str, dict[str, int]] = {language: {} for language in header.languages}
    for language in expected:
        own = [pretokens(text) for text, name in texts if name.split("-")[0] == language]
        documents = Counter(word for words in own for word in set(words))
        total = Counter(word for words in own for word in words)
        assert header.languages[language].words == total.total()
        expected[language] = {w: n for w, n in total.items() if documents[w] >= threshold}
    assert read(path).words == expected


def test_many_files_are_merged_before_too_many_are_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counts, "MAX_RUNS", 3)
    documents = of([(f"w{n % 7} x{n % 11}", "es") for n in range(100)])
    with WordCounter(0.0, 1, room=1) as counter:
        for document in documents:
            counter.add(document)
            assert len(counter._runs) < 3
        counter.write(tmp_path / "a")
    count(tmp_path / "b", documents, threshold=1)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_equal_texts_give_equal_files(tmp_path: Path) -> None:
    documents = of([("uno dos tres", "es")] * 5 + [("huk iskay", "quy")] * 6)
    count(tmp_path / "a", documents)
    count(tmp_path / "b", documents[::-1], room=2)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert (tmp_path / "a").read_text().splitlines()[1:] == [
        '["es"," dos",5]', '["es"," tres",5]', '["es","uno",5]', '["quy"," iskay",6]', '["quy","huk",6]',
    ]  # fmt: skip


def test_what_is_held_out_is_not_counted(tmp_path: Path) -> None:
    documents = of([("uno\n\ndos\n\ntres\n\ncuatro", "es")] * 9)
    held = heldout.split(documents[0], 0.5)
    assert held.train
    assert held.heldout
    count(tmp_path / "c", documents, share=0.5)
    assert set(read(tmp_path / "c").words["es"]) == set(pretokens(held.train))


def test_pieces_of_one_source_are_one_document(tmp_path: Path) -> None:
    pieces = [Document("uno", "es", "long.txt") for _ in range(9)]
    header = count(tmp_path / "c", pieces)
    assert header.languages["es"].documents == 1
    assert read(tmp_path / "c").words == {"es": {}}


def test_what_is_no_word_does_not_leave(tmp_path: Path) -> None:
    count(tmp_path / "c", of([("a" * 257, "es"), ("ñ" * 128, "es")] * 5))
    assert read(tmp_path / "c").words == {"es": {"ñ" * 128: 5}}


HEADER: dict[str, Any] = {
    "format": "ayni-counts/1", "pattern": WORD, "threshold": 5, "heldout": 0.05,
    "languages": {"es": {"documents": 9, "bytes": 99, "words": 99}},
}  # fmt: skip


def written(path: Path, *lines: object, **header: object) -> Path:
    records = [{**HEADER, **header}, *lines]
    path.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in records))
    return path


def test_a_file_that_keeps_the_rules_is_read(tmp_path: Path) -> None:
    path = written(tmp_path / "c", ["es", " a", 5], ["es", "b", 6])
    assert read(path).words == {"es": {" a": 5, "b": 6}}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (["es", "a", 4], "line 2: count: not between 5 and"),
        (["es", "a", 1 << 49], "line 2: count: not between"),
        (["es", "a", -5], "line 2: count: not between"),
        (["es", "a", 5.0], "not .language, word, count."),
        (["es", "a", True], "not .language, word, count."),
        (["es", "a"], "not .language, word, count."),
        ({"a": 5}, "not .language, word, count."),
        (["quy", "a", 5], "a language that the header does not list"),
        (["es", "a b", 5], "word: not one that the pattern gives"),
        (["es", "", 5], "word: not one that the pattern gives|not sorted"),
        (["es", "\ud800", 5], "word: not one that the pattern gives"),
        (["es", "a" * 257, 5], "word: not one that the pattern gives"),
        (["es", "a", 100], "languages.es.words: fewer than the counts' sum"),
        ("[" * 5000, "not .language, word, count."),
        ("[[[[", "no JSON"),
        ("\x1b]0;title\x07", "no JSON"),
    ],
)
def test_a_hostile_line_is_refused_by_its_number(tmp_path: Path, line: object, said: str) -> None:
    with pytest.raises(UserError, match=said) as refused:
        read(written(tmp_path / "c", line))
    assert str(refused.value).isprintable()


def test_a_word_that_stands_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="line 3: not sorted"):
        read(written(tmp_path / "c", ["es", "a", 5], ["es", "a", 5]))


def test_a_file_without_its_last_line_end_was_cut(tmp_path: Path) -> None:
    path = written(tmp_path / "c", ["es", "a", 5])
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match="line 2"):
        read(path)


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ({"format": "ayni-counts/2"}, "format: "),
        ({"pattern": "."}, "pattern: words were cut otherwise"),
        ({"threshold": 0}, "threshold: "),
        ({"heldout": 1}, "heldout: "),
        ({"languages": {"english": HEADER["languages"]["es"]}}, "'english' is no language tag"),
        ({"languages": {"es-CL": HEADER["languages"]["es"]}}, "'es-CL' is no language tag"),
        ({"languages": {"es": {}}}, "languages.es.documents: "),
        ({"texts": ["secret"]}, "texts: "),
    ],
)
def test_a_hostile_header_is_refused_by_its_key(
    tmp_path: Path, header: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        read(written(tmp_path / "c", **header))


@given(data=st.binary(max_size=300))
def test_any_bytes_are_refused_in_words(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = tmp_path_factory.mktemp("counts") / "c"
    path.write_bytes(data)
    with pytest.raises(UserError, match="header"):
        read(path)


def test_a_file_with_too_many_words_or_none_at_all_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counts, "MAX_WORDS", 1)
    with pytest.raises(UserError, match="more than 1 words"):
        read(written(tmp_path / "c", ["es", "a", 5], ["es", "b", 5]))
    with pytest.raises(UserError, match="No such file"):
        read(tmp_path / "none")
