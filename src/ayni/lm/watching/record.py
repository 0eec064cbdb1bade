"""What a run's folder remembers, as plain data: the books, and what sites reported of each round."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from ayni.lm.outer.journal import Kept
from ayni.lm.outer.messages import Record

LOSSES = "losses.jsonl"
_COSINE = "cosine "
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Report:
    """What a site reported of a round.

    `losses`: nats a token by language, of `tokens` predicted ones; `seconds` that it trained (0: it did
    not say); `at`: when it was heard, by the coordinator's clock.
    """

    site: str
    base: int
    at: float
    losses: dict[str, float]
    tokens: dict[str, int]
    seconds: float

    @classmethod
    def of(cls, site: str, body: Mapping[str, Any], at: float) -> Self:
        """From a message's body, as the channel's schema lets it through.

        Raises:
            ValueError: the lists do not fit each other.
        """
        names = body["languages"]
        losses = dict(zip(names, body["losses"], strict=True))
        tokens = dict(zip(names, body["tokens"], strict=True))
        return cls(site, body["base"], at, losses, tokens, body.get("seconds", 0.0))

    @classmethod
    def from_json(cls, line: str) -> Self:
        """Raises ValueError: it is no report."""
        try:
            found = json.loads(line)
            report = cls(
                site=str(found["site"]),
                base=int(found["base"]),
                at=float(found["at"]),
                losses={str(k): float(v) for k, v in found["losses"].items()},
                tokens={str(k): int(v) for k, v in found.get("tokens", {}).items()},
                seconds=float(found.get("seconds", 0.0)),
            )
        except (KeyError, TypeError, AttributeError, OverflowError) as error:
            raise ValueError(f"no report: {error}") from error
        return report

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @property
    def trained(self) -> int:
        """The tokens of the round."""
        return sum(self.tokens.values())


def read_reports(folder: Path) -> list[Report]:
    """All reports in the order heard; of a round that was reported twice the last.

    A line that a kill cut off is passed over.
    """
    path = folder / LOSSES
    if not path.exists():
        return []
    found: dict[tuple[str, int], Report] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            report = Report.from_json(line)
        except ValueError:
            log.warning("%s: a line is torn", path)
            continue
        found.pop((report.site, report.base), None)
        found[report.site, report.base] = report
    return list(found.values())


def mean_by_language(reports: Iterable[Report]) -> dict[str, float]:
    """The mean of several sites' losses, each weighing as many tokens as it predicted."""
    nats: dict[str, float] = {}
    tokens: dict[str, int] = {}
    for report in reports:
        for language, loss in report.losses.items():
            count = report.tokens.get(language, 1)
            nats[language] = nats.get(language, 0.0) + loss * count
            tokens[language] = tokens.get(language, 0) + count
    return {name: nats[name] / tokens[name] for name in sorted(nats) if tokens[name]}


@dataclass(frozen=True)
class Row:
    """One value at one moment. `version`: which it is of; `step` and `tokens`: where the run was then."""

    at: float
    version: int
    step: int
    tokens: int
    what: str
    site: str | None
    language: str | None
    value: float


@dataclass(frozen=True)
class Point:
    """Where the run stood when a version was made."""

    step: int
    tokens: int


class History:
    """A run from its beginning: its books and its sites' reports."""

    def __init__(self, books: Iterable[Record], reports: Iterable[Report]) -> None:
        self.books, self.reports = list(books), list(reports)
        self._points = _points(self.books)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """From a coordinator's folder, also while it is at work.

        Raises:
            UserError: there is none, or it cannot be read.
        """
        with closing(Kept(folder)) as kept:
            return cls([record for _, record in kept.books()], read_reports(folder))

    def point(self, version: int) -> Point:
        return self._points.get(version, Point(0, 0))

    def rows(self) -> Iterator[Row]:
        """Every number of the run, in the order in which they came to be."""
        found = [row for record in self.books for row in self._of_record(record)]
        found += [row for report in self.reports for row in self._of_report(report)]
        return iter(sorted(found, key=lambda row: row.at))

    def _of_report(self, report: Report) -> Iterator[Row]:
        point = self.point(report.base)
        plain = (report.at, report.base, point.step, point.tokens)
        for language, loss in report.losses.items():
            yield Row(*plain, "loss", report.site, language, loss)
        for language, tokens in report.tokens.items():
            yield Row(*plain, "trained_tokens", report.site, language, tokens)
        if report.seconds:
            yield Row(*plain, "seconds", report.site, None, report.seconds)

    def _of_record(self, record: Record) -> Iterator[Row]:
        data, names = record.data, _NUMBERS.get(record.what, {})
        version, site = data.get("version"), data.get("site")
        if not isinstance(version, int):
            return
        point, who = self.point(version), site if isinstance(site, str) else None
        plain = (record.at, version, point.step, point.tokens)
        if record.what == "compared" and data["other"] is not None:
            yield Row(*plain, "effect", str(data["without"]), None, _effect(data))
        for name, value in data.items():
            if isinstance(value, str | None) or not math.isfinite(value):
                continue
            if name in names:
                what, of = names[name], who
            elif record.what == "version" and name.startswith(_COSINE):
                what, of = "cosine", _pair(name)
            else:
                continue
            yield Row(*plain, what, of, None, float(value))


#: The numbers in the books, and what they are called in a log.
_NUMBERS: Mapping[str, Mapping[str, str]] = {
    "version": {"norm": "update_norm", "lr": "outer_lr", "momentum": "outer_momentum"},
    "merged": {
        name: name for name in ("tokens", "bytes", "weight", "staleness", "clipped", "norm")
    },
    "evaluated": {"before": "heldout_before", "after": "heldout_after"},
}


def _effect(data: Mapping[str, Any]) -> float:
    """How much higher a held-out loss is where a site is left out: above 0 where it helps."""
    return float(data["other"]) - float(data["loss"])


def _pair(name: str) -> str:
    """The sites of a cosine: `cosine 3/lima/0 3/quito/0` is that of lima and quito."""
    keys = name.removeprefix(_COSINE).split(" ")
    return " ".join(key.split("/")[1] if key.count("/") == 2 else key for key in keys)


def _points(books: Iterable[Record]) -> dict[int, Point]:
    """Tokens count on over what was rolled back: they were trained."""
    tokens: dict[int, int] = {}
    steps: dict[int, int] = {}
    for record in books:
        version = record.data.get("version")
        if record.what == "merged" and isinstance(version, int):
            tokens[version] = tokens.get(version, 0) + _whole(record.data["tokens"])
        elif record.what == "version" and isinstance(version, int):
            steps[version] = max(_whole(record.data["step"]), steps.get(version, 0))
    found, total = {}, 0
    for version in sorted(tokens | steps):
        total += tokens.get(version, 0)
        found[version] = Point(steps.get(version, 0), total)
    return found


def _whole(value: object) -> int:
    assert isinstance(value, int)
    return value
