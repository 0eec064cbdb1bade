"""Alarms on record: each told once, whoever is started anew."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

from ayni.lm.files import add_lines
from ayni.lm.watching.alarms import Alarm

KEPT = 1000  # alarms in memory
log = logging.getLogger(__name__)


class Told:
    """A file with a line for each alarm, and the last of them in memory.

    A coordinator that is started anew hears its books from their beginning. What is older than all
    that is in memory is on record already, so it need not be remembered: a bad site can cause alarms
    without end.
    """

    def __init__(self, path: Path, most: int = KEPT) -> None:
        self._path, self._most = path, most
        self._last: dict[str, Alarm] = {}  # by key, the newest last
        self._before = -math.inf  # what was told up to then may be forgotten
        for alarm in _read(path):
            self._remember(alarm)

    @property
    def last(self) -> list[Alarm]:
        """The newest last."""
        return list(self._last.values())

    def tell(self, found: Iterable[Alarm]) -> None:
        """Write down what was not told before."""
        new = {
            alarm.key: alarm
            for alarm in found
            if alarm.key not in self._last and alarm.at > self._before
        }
        if not new:
            return
        add_lines(self._path, [json.dumps(asdict(alarm)) for alarm in new.values()])
        for alarm in new.values():
            self._remember(alarm)

    def _remember(self, alarm: Alarm) -> None:
        self._last[alarm.key] = alarm
        if len(self._last) > self._most:
            oldest = self._last.pop(next(iter(self._last)))
            self._before = max(self._before, oldest.at)


def _read(path: Path) -> Iterator[Alarm]:
    """A line that was cut off by a kill is passed over."""
    if not path.exists():
        return
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            try:
                alarm = Alarm(**json.loads(line))
            except (ValueError, TypeError):
                log.warning("%s: a line is torn", path)
                continue
            yield alarm
