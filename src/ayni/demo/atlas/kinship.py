"""How alike languages are in writing, and the tree that this makes. Pure: arrays in, arrays out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]

# A share of 1/1000 weighs as one occurrence in a text of a thousand letters would.
PER_MILLE = 1000.0


@dataclass(frozen=True, slots=True)
class Merge:
    """Two clusters joined at `height`, their mean distance. Clusters 0…n-1 are the leaves, in order;
    the k-th merge makes cluster n+k."""

    left: int
    right: int
    height: float


def distances(profiles: Sequence[Mapping[str, float]]) -> Matrix:
    """Distances between profiles (n-gram → share), from 0 (alike) to 2.

    The cosine distance of the logarithm of each share, weighted by the n-gram's rarity over the
    languages (Spärck Jones 1972) and centred, so that only what sets texts apart counts.
    """
    columns = {gram: k for k, gram in enumerate(sorted({g for p in profiles for g in p}))}
    weights = np.zeros((len(profiles), len(columns)))
    for row, shares in enumerate(profiles):
        weights[row, [columns[g] for g in shares]] = list(shares.values())
    rarity = np.log((1 + len(profiles)) / (weights > 0).sum(axis=0))
    weights = np.log1p(PER_MILLE * weights) * rarity
    weights -= weights.mean(axis=0)
    weights /= np.maximum(np.linalg.norm(weights, axis=1, keepdims=True), 1e-12)
    result = np.clip(1.0 - weights @ weights.T, 0.0, 2.0)
    np.fill_diagonal(result, 0.0)
    return np.asarray((result + result.T) / 2)


def average_linkage(distance: Matrix) -> list[Merge]:
    """The tree that joins the two closest clusters again and again (UPGMA, Sokal & Michener 1958)."""
    n = len(distance)
    between = distance.copy()
    np.fill_diagonal(between, np.inf)
    cluster, size = list(range(n)), [1] * n
    merges = []
    for step in range(n - 1):
        a, b = sorted(divmod(int(between.argmin()), n))
        merges.append(Merge(cluster[a], cluster[b], float(between[a, b])))
        mean = (size[a] * between[a] + size[b] * between[b]) / (size[a] + size[b])
        between[a], between[:, a] = mean, mean
        between[b], between[:, b] = np.inf, np.inf
        between[a, a] = np.inf
        cluster[a], size[a] = n + step, size[a] + size[b]
    return merges


def circular_order(merges: Sequence[Merge], distance: Matrix) -> list[int]:
    """The leaves round a circle: of all orders the tree allows, the one with the shortest way round.

    Optimal leaf ordering (Bar-Joseph and others 2001), as products of matrices in which sums are
    minima: cost[a, b] is the shortest way through a cluster that begins at leaf a and ends at b.
    """
    n = len(distance)
    leaves = [[k] for k in range(n)]
    costs = [np.zeros((1, 1)) for _ in range(n)]
    for merge in merges:
        left, right = merge.left, merge.right
        step = distance[np.ix_(leaves[left], leaves[right])]
        across = _min_plus(_min_plus(costs[left], step), costs[right])
        cost = np.full((sum(across.shape),) * 2, np.inf)
        cost[: len(across), len(across) :] = across
        cost[len(across) :, : len(across)] = across.T
        leaves.append(leaves[left] + leaves[right])
        costs.append(cost)

    def walk(cluster: int, first: int, last: int) -> list[int]:
        """The leaves of a cluster from `first` to `last` (positions within it)."""
        if cluster < n:
            return [cluster]
        left, right = merges[cluster - n].left, merges[cluster - n].right
        if first >= len(leaves[left]):
            return walk(cluster, last, first)[::-1]
        last -= len(leaves[left])
        step = distance[np.ix_(leaves[left], leaves[right])]
        through = costs[left][first][:, None] + step + costs[right][:, last][None, :]
        end, begin = divmod(int(through.argmin()), through.shape[1])
        return walk(left, first, end) + walk(right, begin, last)

    closed = costs[-1] + distance[np.ix_(leaves[-1], leaves[-1])]
    first, last = divmod(int(closed.argmin()), len(closed))
    return walk(len(leaves) - 1, first, last)


def _min_plus(a: Matrix, b: Matrix) -> Matrix:
    return np.asarray((a[:, :, None] + b[None, :, :]).min(axis=1))


@dataclass(frozen=True, slots=True)
class Kinship:
    """How often a language's nearest neighbour is of its own family.

    Counted are the languages that could have been found: those with a relative in the same script.
    `chance` is the share that neighbours drawn at random would reach.
    """

    found: int
    counted: int
    chance: float

    @property
    def share(self) -> float:
        return self.found / self.counted if self.counted else 0.0


def nearest(distance: Matrix, count: int) -> NDArray[np.intp]:
    """For each row, its `count` nearest others, nearest first."""
    others = distance.copy()
    np.fill_diagonal(others, np.inf)
    return np.argsort(others, axis=1, kind="stable")[:, :count]


def kinship(distance: Matrix, families: Sequence[str | None], scripts: Sequence[str]) -> Kinship:
    """Compare nearest neighbours with known families (which the distances know nothing of)."""
    neighbour = nearest(distance, 1)[:, 0]
    n = len(families)
    found, odds = 0, []
    for k, family in enumerate(families):
        relatives = [j for j in range(n) if j != k and family and families[j] == family]
        if any(scripts[j] == scripts[k] for j in relatives):
            found += int(neighbour[k]) in relatives
            odds.append(len(relatives) / (n - 1))
    return Kinship(found, len(odds), float(np.mean(odds)) if odds else 0.0)
