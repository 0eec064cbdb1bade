"""The curves of a run, as charts: what is drawn, against what. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum

from ayni.lm.watching.record import History, Report, Row, mean_by_language
from ayni.lm.watching.svg import Chart, Line, Point

Lines = Mapping[str, list[Point]]


class Against(StrEnum):
    """What a curve is drawn against: tokens that the run had seen, its inner steps, or hours."""

    TOKENS = "tokens"
    STEPS = "steps"
    TIME = "time"


_AXIS = {
    Against.TOKENS: "tokens trained by all sites",
    Against.STEPS: "inner steps of the run",
    Against.TIME: "hours since the run began",
}


def curves(history: History, against: Against = Against.TOKENS) -> dict[str, Chart]:
    """A run's charts, by their names as files.

    Training losses are those of a round's tokens, drawn where the round began.
    """
    return {
        name: _chart(what, unit, against, found, zero=zero)
        for name, what, unit, found, zero in _found(history, against)
        if found
    }


def _found(history: History, against: Against) -> Iterator[tuple[str, str, str, Lines, bool]]:
    rows = list(history.rows())
    x = _Across(history, rows, against)
    yield (
        "loss-by-language",
        "Training loss by language",
        "nats/token",
        _languages(history, x),
        False,
    )
    yield "loss-by-site", "Training loss by site", "nats/token", _sites(history, x), False
    held = _lines(rows, "heldout_after", x)
    yield "heldout-by-site", "Loss on held-out text by site", "nats/token", held, False
    effect = _lines(rows, "effect", x)
    yield "effects", "Rise of held-out losses without a site", "nats/token", effect, True
    yield "tokens", "Tokens merged, by site", "tokens", _summed(rows, "tokens", x), True
    yield "bytes", "Bytes sent and merged, by site", "bytes", _summed(rows, "bytes", x), True
    cosines = _lines(rows, "cosine", x)
    yield "cosines", "Cosines between sites' pseudo-gradients", "cosine", cosines, False
    yield "norms", "Norms of sites' pseudo-gradients", "norm", _lines(rows, "norm", x), True


class _Across:
    """Where something lies on the horizontal axis."""

    def __init__(self, history: History, rows: Iterable[Row], against: Against) -> None:
        self._history, self._against = history, against
        self._began = min((row.at for row in rows), default=0.0)

    def __call__(self, at: float, version: int) -> float:
        if self._against is Against.TIME:
            return (at - self._began) / 3600
        point = self._history.point(version)
        return point.step if self._against is Against.STEPS else point.tokens


def _languages(history: History, x: _Across) -> Lines:
    """The languages with the most tokens first: they get the colours."""
    tokens: dict[str, int] = defaultdict(int)
    rounds: dict[int, list[Report]] = defaultdict(list)
    for report in history.reports:
        rounds[report.base].append(report)
        for language, count in report.tokens.items():
            tokens[language] += count
    found: dict[str, list[Point]] = defaultdict(list)
    for base, reports in sorted(rounds.items()):
        at = x(max(report.at for report in reports), base)
        for language, loss in mean_by_language(reports).items():
            found[language].append((at, loss))
    return {name: found[name] for name in sorted(found, key=lambda name: (-tokens[name], name))}


def _sites(history: History, x: _Across) -> Lines:
    found: dict[str, list[Point]] = defaultdict(list)
    for report in sorted(history.reports, key=lambda report: report.base):
        nats = sum(loss * report.tokens.get(name, 1) for name, loss in report.losses.items())
        count = sum(report.tokens.get(name, 1) for name in report.losses)
        if count:
            found[report.site].append((x(report.at, report.base), nats / count))
    return dict(sorted(found.items()))


def _lines(rows: Iterable[Row], what: str, x: _Across) -> Lines:
    found: dict[str, list[Point]] = defaultdict(list)
    for row in rows:
        if row.what == what and row.site is not None:
            found[row.site.replace(" ", " · ")].append((x(row.at, row.version), row.value))
    return dict(sorted(found.items()))


def _summed(rows: Iterable[Row], what: str, x: _Across) -> Lines:
    return {site: _running(points) for site, points in _lines(rows, what, x).items()}


def _running(points: Iterable[Point]) -> list[Point]:
    total, found = 0.0, []
    for at, value in points:
        total += value
        found.append((at, total))
    return found


def _chart(what: str, unit: str, against: Against, found: Lines, *, zero: bool) -> Chart:
    ends = ", ".join(
        f"{name} from {points[0][1]:.4g} to {points[-1][1]:.4g}" for name, points in found.items()
    )
    text = f"{what} against {_AXIS[against]}. {ends}."
    lines = [Line(name, points) for name, points in found.items()]
    return Chart(what, text, _AXIS[against], unit, lines, zero=zero)
