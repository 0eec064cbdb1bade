"""Distances, the tree, and the order of its leaves."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ayni.demo.atlas.kinship import (
    Matrix,
    Merge,
    average_linkage,
    circular_order,
    distances,
    kinship,
    nearest,
)

SMALL = np.array([[0, 2, 8, 7], [2, 0, 6, 9], [8, 6, 0, 3], [7, 9, 3, 0]], dtype=float)


@st.composite
def matrices(draw: st.DrawFn) -> Matrix:
    n = draw(st.integers(2, 7))
    values = draw(st.lists(st.floats(0.01, 2), min_size=n * n, max_size=n * n))
    square = np.array(values).reshape(n, n)
    symmetric = (square + square.T) / 2
    np.fill_diagonal(symmetric, 0)
    return np.asarray(symmetric)


def orders(merges: list[Merge], cluster: int, n: int) -> list[list[int]]:
    """All orders of the leaves that the tree allows."""
    if cluster < n:
        return [[cluster]]
    merge = merges[cluster - n]
    lefts, rights = orders(merges, merge.left, n), orders(merges, merge.right, n)
    return [o for a in lefts for b in rights for o in (a + b, b + a)]


def way_round(order: list[int], distance: Matrix) -> float:
    return float(sum(distance[a, b] for a, b in pairwise([*order, order[0]])))


def test_average_linkage_joins_the_closest_at_their_mean_distance() -> None:
    assert average_linkage(SMALL) == [Merge(0, 1, 2.0), Merge(2, 3, 3.0), Merge(4, 5, 7.5)]


@given(matrices())
def test_each_cluster_is_joined_once_and_never_below_its_parts(distance: Matrix) -> None:
    merges = average_linkage(distance)
    n = len(distance)
    children = [child for merge in merges for child in (merge.left, merge.right)]
    assert sorted(children) == list(range(2 * n - 2))
    heights = [0.0] * n + [merge.height for merge in merges]
    assert all(heights[m.left] <= m.height + 1e-9 for m in merges)
    assert all(heights[m.right] <= m.height + 1e-9 for m in merges)


@given(matrices())
@settings(max_examples=60)
def test_no_order_that_the_tree_allows_is_shorter(distance: Matrix) -> None:
    merges = average_linkage(distance)
    allowed = orders(merges, 2 * len(distance) - 2, len(distance))
    order = circular_order(merges, distance)
    assert order in allowed
    best = min(way_round(other, distance) for other in allowed)
    assert way_round(order, distance) == pytest.approx(best)


def test_texts_that_share_rare_ngrams_are_closer_than_those_that_share_common_ones() -> None:
    common = {"a": 0.5, "n": 0.5}
    profiles = [
        {**common, "tz": 0.1, "k’": 0.1},
        {**common, "tz": 0.1, "’o": 0.1},
        {**common, "ão": 0.1},
        {**common, "ll": 0.1},
    ]
    found = distances(profiles)
    assert np.allclose(found, found.T)
    assert np.allclose(np.diag(found), 0)
    assert nearest(found, 1)[0, 0] == 1
    assert nearest(found, 1)[1, 0] == 0


def test_identical_profiles_have_no_distance_and_break_nothing() -> None:
    same = [{"a": 0.5}, {"a": 0.5}, {"b": 0.5}]
    assert distances(same)[0, 1] == pytest.approx(0, abs=1e-9)
    assert np.isfinite(distances(same[:2])).all()


def test_kinship_counts_only_languages_that_have_a_relative_in_their_script() -> None:
    found = kinship(SMALL, ["A", "A", "B", None], ["Latn", "Latn", "Latn", "Latn"])
    assert (found.found, found.counted, found.share) == (2, 2, 1.0)
    assert found.chance == pytest.approx(1 / 3)
    assert kinship(SMALL, ["A", "A", "B", "B"], ["Latn", "Cher", "Latn", "Latn"]).counted == 2
    assert kinship(SMALL, [None] * 4, ["Latn"] * 4).share == 0.0
