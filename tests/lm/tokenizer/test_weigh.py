"""Many sites' counts as one."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ayni.errors import UserError
from ayni.lm.tokenizer.counts import Counts, Header, Totals
from ayni.lm.tokenizer.weigh import UNIT, weigh, weights_of

SIZES = st.dictionaries(
    st.sampled_from(["es", "quy", "gn", "arn"]), st.integers(1, 10**12), min_size=1
)


def counts(
    words: dict[str, dict[str, int]], sizes: dict[str, int], heldout: float = 0.05
) -> Counts:
    totals = {name: Totals(documents=9, bytes=size, words=10**9) for name, size in sizes.items()}
    return Counts(Header(threshold=5, heldout=heldout, languages=totals), words)


def test_small_languages_count_more_by_the_power_that_is_said() -> None:
    sizes = Counter({"es": 10_000, "quy": 100})
    assert weights_of(sizes, Decimal(1)) == {"es": UNIT, "quy": UNIT}
    assert weights_of(sizes, Decimal("0.5")) == {"es": UNIT, "quy": 10 * UNIT}
    assert weights_of(sizes, Decimal(0)) == {"es": UNIT, "quy": 100 * UNIT}
    assert weights_of(sizes, Decimal(0), max_repeat=20) == {"es": UNIT, "quy": 20 * UNIT}


@given(SIZES, st.decimals(0, 1, places=2))
def test_the_smaller_a_language_the_more_a_word_of_it_counts_and_the_less_all_of_it(
    sizes: dict[str, int], alpha: Decimal
) -> None:
    weights = weights_of(Counter(sizes), alpha, max_repeat=10**15)
    ranked = sorted(sizes, key=lambda name: sizes[name])
    for small, large in pairwise(ranked):
        assert weights[small] >= weights[large] >= UNIT
        assert sizes[small] * weights[small] <= sizes[large] * weights[large] * (1 + 1 / UNIT)


def test_weights_never_change() -> None:
    """Every machine must learn the same tokenizer: these come of decimal arithmetic."""
    sizes = Counter({"es": 123_456_789, "quy": 54_321, "gn": 987_654, "arn": 7})
    assert weights_of(sizes) == {"arn": 25_600, "es": 256, "gn": 7_518, "quy": 25_600}


def test_words_of_many_languages_are_added_up_in_any_order() -> None:
    one = counts({"es": {"a": 5, "b": 7}, "quy": {"a": 6}}, {"es": 400, "quy": 100})
    other = counts({"es": {"a": 5}}, {"es": 0})
    found = weigh([one, other], Decimal("0.5"))
    assert found == weigh([other, one], Decimal("0.5"))
    assert found.bytes == {"es": 400, "quy": 100}
    assert found.words == {"a": 10 * UNIT + 6 * 2 * UNIT, "b": 7 * UNIT}


def test_what_cannot_be_added_up_is_told() -> None:
    one = counts({"es": {"a": 5}}, {"es": 9})
    with pytest.raises(UserError, match="held out different shares"):
        weigh([one, counts({"es": {"a": 5}}, {"es": 9}, heldout=0.1)])
    with pytest.raises(UserError, match="no word stands in enough documents"):
        weigh([counts({"es": {}}, {"es": 9})])
