"""What a person should see of a run. Pure: books and reports in, alarms out, each with a key of its own.

A loss is out of line if it is above the median of its site's last rounds by `SPREADS` robust standard
deviations (1.4826 × the median absolute deviation: Rousseeuw and Croux, JASA 88, 1993), and by
`LEAST` of that median at least, so that a history without noise is no trap.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from ayni.lm.outer.messages import Record
from ayni.lm.outer.state import Site
from ayni.lm.outer.watch import SILENT, Standing
from ayni.lm.watching.record import Report

ROUNDS = 9  # a site's last rounds that say what is usual
ENOUGH = 4  # of them
SPREADS = 6.0
LEAST = 0.05
_SIGMA = 1.4826  # a normal distribution's standard deviation over its median absolute deviation
_PATIENCE = 120.0  # seconds: nobody is silent before
_ROUNDS_SILENT = 3.0  # times a site's usual round


@dataclass(frozen=True)
class Alarm:
    """`what` kind of thing, at which site (None: the run as a whole). A key is told once."""

    key: str
    at: float
    what: str
    site: str | None
    text: str


def limit(history: Sequence[float]) -> float | None:
    """The loss above which a round is out of line with the ones before; None: too few to say."""
    if len(history) < ENOUGH:
        return None
    middle = median(history)
    spread = _SIGMA * median(abs(loss - middle) for loss in history)
    return middle + max(SPREADS * spread, LEAST * abs(middle))


class Watch:
    """Hears a run from its beginning and says what is alarming; heard again, it says the same."""

    def __init__(self) -> None:
        self._losses: dict[tuple[str, str], deque[float]] = defaultdict(_recent)
        self._heard: dict[str, deque[float]] = defaultdict(_recent)
        self._judged = True  # the version before

    def report(self, report: Report) -> list[Alarm]:
        """A loss that is out of line: one alarm to a report, however many languages it is of."""
        self._heard[report.site].append(report.at)
        found = []
        for language, loss in sorted(report.losses.items()):
            history = self._losses[report.site, language]
            most = limit(history)
            if most is not None and loss > most:
                found.append((loss / max(median(history), 1e-9), language, loss, median(history)))
            history.append(loss)
        if not found:
            return []
        _, language, loss, usual = max(found)
        text = f"{report.site}: the loss of {language} is {loss:.3f}, where {usual:.3f} was usual"
        if len(found) > 1:
            text += f"; {len(found) - 1} more languages"
        key = f"spike/{report.site}/{report.base}"
        return [Alarm(key, report.at, "spike", report.site, text)]

    def silent(
        self, standings: Iterable[Standing], sites: Mapping[str, Site], now: float
    ) -> list[Alarm]:
        """Sites that are waited for and have said nothing for longer than is usual of them."""
        found = {}
        for one in standings:
            site = sites[one.site]
            since = now - site.heard
            if one.awaited and not one.brought and since > self.patience(one.site):
                at = f", step {site.step} of {site.of}" if site.of else ""
                text = (
                    f"{one.site} is waited for and has said nothing for {_minutes(since)}; "
                    f"at last it was {site.doing}{at}"
                )
                key = f"silent/{one.site}/{site.heard:.0f}"
                found[key] = Alarm(key, now, "silent", one.site, text)
        return list(found.values())

    def patience(self, site: str) -> float:
        """Seconds without a word after which a site is silent."""
        times = list(self._heard[site])
        gaps = [after - before for before, after in pairwise(times)]
        if len(gaps) < ENOUGH - 1:
            return SILENT
        return min(SILENT, max(_PATIENCE, _ROUNDS_SILENT * median(gaps)))

    def record(self, record: Record) -> list[Alarm]:
        """What the books hold that should be seen."""
        text = _text(record)
        if record.what == "judged":
            before, self._judged = self._judged, record.data["verdict"] != "not judged"
            if before and not self._judged:  # told once, until one is judged again
                text = (
                    f"version {record.data['version']} was not judged: fewer than two sites said what "
                    "it did to their losses, and nobody looks after the run until two do"
                )
        if text is None:
            return []
        site = record.data.get("site")
        key = record.key
        if record.what == "rolled back":  # of many versions at once
            key = f"rolled back/{record.at}"
        return [Alarm(key, record.at, record.what, str(site) if site else None, text)]


def _recent() -> deque[float]:
    return deque(maxlen=ROUNDS)


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} minutes"


def _text(record: Record) -> str | None:
    data, site = record.data, record.data.get("site")
    match record.what:
        case "alarm":
            return str(data["text"])
        case "refused":
            return f"{site}: its contribution was refused: {data['reason']}"
        case "rejected":
            return f"a message in the name of {site} was refused: {data['reason']}"
        case "failed":
            return f"{site} cannot contribute: {data['reason']}"
        case "left":
            return f"{site} is not here any more: {data.get('reason') or 'it left'}"
        case "discarded":
            return f"{site} came back too late and discarded {data['tokens']} tokens"
        case "judged" if data["verdict"] == "harm":
            return f"version {data['version']} did harm: its parent's weights come back"
        case "rolled back" if data["why"] != "harm":
            return (
                f"back to older weights: version {data['version']} and what it led to do not count"
            )
        case "merged" if float(data["clipped"] or 0) < 1:
            share = float(data["clipped"] or 0)
            return (
                f"{site}: its contribution to version {data['version']} was clipped to {share:.0%}"
            )
    return None
