"""Live tails: the last bytes of the logs of attempts that somebody is watching, about every second."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from ayni.agent.datasets import Datasets
from ayni.agent.journal import Entry
from ayni.agent.life import fitting
from ayni.agent.staging import logs
from ayni.agent.staging.folders import Folders
from ayni.agent.staging.inputs import load, rule_for
from ayni.protocol import release
from ayni.protocol.attempts import AttemptState
from ayni.protocol.messages import LogReport

EVERY = 1.0  # seconds


@dataclass(slots=True)
class Watch:
    """`wanted` is what the hub said last."""

    folders: Folders
    datasets: Datasets
    wanted: frozenset[str] = frozenset()
    _next: float = float("-inf")
    _may: dict[str, bool] = field(default_factory=dict)  # by attempt: its logs may be shown

    def look(self, entries: Mapping[str, Entry], now: float) -> Iterator[Entry]:
        """The watched attempts whose logs grew, their reports brought up to date."""
        if now < self._next:
            return
        self._next = now + EVERY
        self._may = {a: may for a, may in self._may.items() if a in self.wanted}
        for attempt in self.wanted:
            entry = entries.get(attempt)
            if entry is None or entry.state is not AttemptState.RUNNING:
                continue
            if self._allowed(entry) and self._update(entry):
                yield entry

    def _allowed(self, entry: Entry) -> bool:
        if entry.id not in self._may:
            prepared = load(entry.id, self.folders.path(entry.id))
            rule = rule_for(entry.assignment, self.datasets, prepared.datasets)
            self._may[entry.id] = release.strictest((prepared.rule, rule)).live_tails
        return self._may[entry.id]

    def _update(self, entry: Entry) -> bool:
        report = entry.report
        kept: dict[tuple[int, str], LogReport] = {
            (log.command, log.stream): log for log in report.logs
        }
        seen: dict[tuple[int, str], int] = {key: log.size for key, log in kept.items()}
        grown = logs.changed(self.folders.path(entry.id), seen)
        if not grown:
            return False
        kept |= {(log.command, log.stream): log for log in grown}
        report.logs = fitting([kept[key] for key in sorted(kept)])
        return True
