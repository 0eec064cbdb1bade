"""Processor time between two moments: unlike seconds it says something on a machine that others use, too."""

from __future__ import annotations

import os
import threading
import time
from bisect import bisect_right
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from ayni.demo.stage import naming

EVERY = 0.1  # seconds between two looks
_TICK = os.sysconf("SC_CLK_TCK")


class Processor:
    """Watches the processes that name a folder in their command line or their environment.

    Used as a context. What a process did after the last look at it is not counted.
    """

    def __init__(self, folder: Path) -> None:
        self._needle = os.fsencode(folder)
        self._times: dict[int, float] = {}  # by process, also of those that ended
        self._moments: list[float] = []
        self._sums: list[float] = []
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end.set()
        self._thread.join()

    def between(self, start: float, end: float) -> float:
        """Seconds of processor time, user's and system's, between two Unix times."""
        return self._at(end) - self._at(start)

    def _at(self, moment: float) -> float:
        number = bisect_right(self._moments, moment)
        return self._sums[number - 1] if number else 0.0

    def _watch(self) -> None:
        while not self._end.wait(EVERY):
            for process in naming(self._needle):
                with suppress(OSError):  # it ended meanwhile
                    self._times[process] = _used(process)
            self._moments.append(time.time())
            self._sums.append(sum(self._times.values()))


def _used(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK
