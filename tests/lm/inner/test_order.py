"""In which order a site reads its documents."""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ayni.errors import UserError
from ayni.lm.inner.order import Order, Row, Stream, _sorted, capped, repeats
from tests.lm.inner.small import Documents, documents

LENGTHS = st.lists(st.integers(0, 40), min_size=1, max_size=30).filter(lambda n: sum(n) > 8)

#: Of every seventh row of the first epochs of 3,000 documents, as the first release read them.
GOLDEN_ORDER = "c71b7bc7fde9a093c6552f0ea4ecb228"
GOLDEN_FIRST = [22, 26, 30, 34, 38, 42, 46, 2, 7, 10, 13, 16]
GOLDEN_THOUSANDTH = [6, 9, 12, 15, 18, 21, 7, 10, 13, 16, 19, 22]


def reader(lengths: list[int], *, seed: int = 0, site: str = "cl", length: int = 8) -> Order:
    languages = [("es", "quy", "ay")[i % 3] for i in range(len(lengths))]
    return Order(Documents(lengths, languages), seed=seed, site=site, length=length)


def same(a: Row, b: Row) -> bool:
    pairs = ((a.tokens, b.tokens), (a.segments, b.segments), (a.languages, b.languages))
    return all(np.array_equal(x, y) for x, y in pairs)


@given(LENGTHS, st.integers(0, 99), st.lists(st.integers(0, 200), min_size=1, max_size=20))
def test_a_row_depends_on_its_index_and_on_nothing_that_was_read_before(
    lengths: list[int], seed: int, indices: list[int]
) -> None:
    used = reader(lengths, seed=seed)
    for index in indices:
        assert same(used.row(index), reader(lengths, seed=seed).row(index))


@given(LENGTHS, st.integers(0, 20), st.sampled_from([1, 2, 3, 4, 6, 12]))
def test_the_ranks_of_a_site_read_together_what_one_would_read_alone(
    lengths: list[int], step: int, ranks: int
) -> None:
    batch = 12
    alone = [reader(lengths).row(step * batch + place) for place in range(batch)]
    size = batch // ranks
    together = [
        reader(lengths).row(step * batch + place)
        for rank in range(ranks)
        for place in range(rank * size, (rank + 1) * size)
    ]
    assert all(same(a, b) for a, b in zip(alone, together, strict=True))


@given(LENGTHS)
def test_an_epoch_reads_every_document_once_but_for_the_tail_of_the_last_row(
    lengths: list[int],
) -> None:
    order = reader(lengths)
    rows = 0
    while order.locate(rows)[0] == 0:
        rows += 1
    read: Counter[int] = Counter()
    for index in range(rows):
        read.update(order.row(index).tokens[:-1].tolist())
    held = Counter(t for i in range(len(lengths)) for t in order.documents.tokens(i).tolist())
    assert sum(read.values()) == rows * 8
    assert not read - held
    assert sum((held - read).values()) <= 8


def test_rows_of_a_stream_overlap_by_one_token_and_its_last_is_shorter() -> None:
    docs = documents()
    stream = Stream(docs, np.arange(len(docs)), 24)
    rows = [stream.row(place)[0] for place in range(stream.rows + 1)]
    assert all(a[-1] == b[0] for a, b in itertools.pairwise(rows))
    assert {len(row) for row in rows[:-1]} == {25}
    whole = np.concatenate([row[:-1] for row in rows] + [rows[-1][-1:]])
    assert whole.tolist() == [t for i in range(len(docs)) for t in docs.tokens(i).tolist()]


def test_a_batch_is_not_a_few_pages_of_one_document() -> None:
    order = Order(Documents([800] * 6, ["es"] * 6), seed=0, site="cl", length=8)
    places = [int(order._epoch(0).rows[i]) for i in range(16)]
    assert not any(b == a + 1 for a, b in itertools.pairwise(places))


def test_each_document_keeps_its_tokens_in_order_and_its_language() -> None:
    docs = documents()
    order = Order(docs, seed=3, site="mx", length=24)
    for index in range(40):
        row = order.row(index)
        for segment in set(row.segments.tolist()):
            here = row.segments == segment
            language = {order.languages[i] for i in row.languages[here].tolist()}
            assert len(language) == 1
            step = 1 + len(language.pop())
            assert set(np.diff(row.tokens[here]) % 48) <= {step}


@pytest.mark.parametrize("other", [{"seed": 1}, {"site": "mx"}])
def test_seeds_sites_and_epochs_differ_in_their_order(other: dict[str, object]) -> None:
    lengths = [10] * 30
    one, two = reader(lengths), reader(lengths, **other)  # type: ignore[arg-type]
    assert not all(same(one.row(i), two.row(i)) for i in range(10))
    start = next(i for i in range(100) if one.locate(i)[0] == 1)
    assert not all(same(one.row(i), one.row(start + i)) for i in range(10))


def test_the_order_is_the_same_on_every_machine_and_release() -> None:
    order = Order(documents(), seed=7, site="co", length=24, temperature=3, max_repeats=4)
    assert order.row(0).tokens[:12].tolist() == GOLDEN_FIRST
    assert order.row(1000).tokens[:12].tolist() == GOLDEN_THOUSANDTH


def test_a_large_site_is_read_in_the_order_that_was_recorded() -> None:
    languages = [("es", "quy", "pt-BR", "ay", "gn")[i * i % 5] for i in range(3000)]
    docs = Documents([1 + i * i % 97 for i in range(3000)], languages)
    order = Order(docs, seed=11, site="cl", length=64, temperature=3, max_repeats=4)
    read = hashlib.blake2b(digest_size=16)
    for index in range(0, 7437, 7):
        row = order.row(index)
        for part in (row.tokens, row.segments, row.languages):
            read.update(part.astype("<i8").tobytes())
    assert order.locate(7437)[0] == 2
    assert read.hexdigest() == GOLDEN_ORDER


def test_equal_keys_keep_their_order() -> None:
    keys = np.array([3, 1, 3, 0, 1, 3] * 50, dtype=np.uint64)
    assert np.array_equal(_sorted(keys), np.argsort(keys, kind="stable"))


def test_a_small_language_is_read_more_often_up_to_the_cap_over_the_whole_run() -> None:
    docs = Documents([50] * 20 + [10] * 5, ["es"] * 20 + ["ay"] * 5)
    order = Order(docs, seed=0, site="cl", length=10, temperature=1e9, max_repeats=6)
    tokens = Counter[tuple[int, str]]()
    index = 0
    while (place := order.locate(index))[0] < 4:
        row = order.row(index)
        for language in row.languages[:-1].tolist():
            tokens[place[0], order.languages[language]] += 1
        index += 1
    readings = [round(tokens[epoch, "ay"] / 50) for epoch in range(4)]
    assert readings == [6, 1, 1, 1]
    assert [round(tokens[epoch, "es"] / 1000) for epoch in range(4)] == [1, 1, 1, 1]


@given(
    st.lists(st.integers(1, 10**12), min_size=1, max_size=8),
    st.floats(1, 100),
    st.integers(0, 12),
    st.floats(1, 20),
)
def test_readings_stay_under_the_cap_or_one_an_epoch(
    sizes: list[int], temperature: float, epochs: int, most: float
) -> None:
    wanted = repeats(np.array(sizes), temperature)
    assert wanted.min() >= 1 - 1e-12
    by_epoch = [capped(wanted, epoch, most) for epoch in range(epochs + 1)]
    total = np.sum(by_epoch, axis=0)
    assert (total <= max(most, 1) + epochs + 1e-6).all()
    assert (np.min(by_epoch, axis=0) >= 1).all()
    assert np.isclose(by_epoch[0][np.argmax(sizes)], 1)


def test_temperature_one_keeps_the_languages_proportions() -> None:
    assert repeats(np.array([10, 1000, 7]), 1.0).tolist() == [1, 1, 1]


def test_a_site_with_less_text_than_a_row_is_told_so() -> None:
    with pytest.raises(UserError, match=r"cl holds 6 tokens.*data.length = 8"):
        reader([2, 4])
