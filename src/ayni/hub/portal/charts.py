"""Small charts as SVG coordinates; the templates only print them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from ayni.hub.portal import words

HALF = 170  # units to the middle of the balance chart
ROW = 34
_LONGEST = 120  # units of the longest bar; the rest is for its number


@dataclass(frozen=True, slots=True)
class Balance:
    """One country's bars: received to the left of the middle, given to the right."""

    country: str
    given: float
    received: float
    given_width: str
    received_width: str
    received_x: str
    given_end: str  # where the numbers stand
    received_end: str
    y: int


def balances(rows: Sequence[tuple[str, float, float]]) -> list[Balance]:
    """Rows of country, hours given, hours received; all bars on one scale."""
    most = max((max(given, received) for _, given, received in rows), default=0.0) or 1.0
    answer = []
    for n, (country, given, received) in enumerate(rows):
        left, right = _LONGEST * received / most, _LONGEST * given / most
        answer.append(
            Balance(
                country,
                given,
                received,
                f"{right:.1f}",
                f"{left:.1f}",
                f"{HALF - left:.1f}",
                f"{HALF + right + 6:.1f}",
                f"{HALF - left - 6:.1f}",
                ROW * n,
            ),
        )
    return answer


@dataclass(frozen=True, slots=True)
class Part:
    """One piece of a bar of states, in hundredths."""

    label: words.Label
    count: int
    x: str
    width: str


def state_bar(counts: Mapping[str, int]) -> list[Part]:
    """A bar of 100 units: what ended first, then what runs, then what waits."""
    shown = [(label, counts.get(state, 0)) for state, label in words.SHOWN_STATES.items()]
    shown = [(label, n) for label, n in shown if n]
    total = sum(n for _, n in shown)
    edges = [0, *accumulate(n for _, n in shown)]
    return [
        Part(label, n, f"{100 * left / total:.3f}", f"{100 * (right - left) / total:.3f}")
        for (label, n), (left, right) in zip(shown, pairwise(edges), strict=True)
    ]
