"""How large a task is, roughly: tasks of one size wait about as long as each other."""

from __future__ import annotations

import re
from bisect import bisect_left
from functools import lru_cache
from typing import NamedTuple

from ayni.tes.shape import Shape

_HOUR, _DAY = 3600, 86400
#: Walltimes are rounded up to one of these, in seconds: a short task may slip in where a long one waits.
WALLTIMES = (
    60, 300, 900, _HOUR, 4 * _HOUR, 12 * _HOUR, _DAY, 2 * _DAY, 7 * _DAY, 30 * _DAY, 366 * _DAY,
)  # fmt: skip
_TEXT = re.compile(r"(\d{1,18})-(\d{1,18})-(\d{1,18})-(\d{1,18})", re.ASCII)


class Size(NamedTuple):
    """What a task asks in all, over its nodes; each number rounded up, so that there are few sizes."""

    cores: int
    memory: int  # GiB
    gpus: int
    walltime: int  # seconds

    @classmethod
    def of(cls, *, cores: int, memory: int, gpus: int, walltime: int, nodes: int = 1) -> Size:
        """The size of a task that asks this of each node, memory in bytes and walltime in seconds."""
        return cls(
            cores=_power(cores * nodes),
            memory=_power(-(-memory * nodes // (1 << 30))),
            gpus=_power(gpus * nodes),
            walltime=WALLTIMES[min(bisect_left(WALLTIMES, walltime), len(WALLTIMES) - 1)],
        )

    def __str__(self) -> str:
        return f"{self.cores}-{self.memory}-{self.gpus}-{self.walltime}"

    @classmethod
    def read(cls, text: str) -> Size | None:
        """The size that was written as this text; None if none was."""
        found = _TEXT.fullmatch(text)
        return cls(*map(int, found.groups())) if found else None

    def within(self, other: Size) -> bool:
        """Whether it asks no more of anything than the other."""
        return (
            self.cores <= other.cores
            and self.memory <= other.memory
            and self.gpus <= other.gpus
            and self.walltime <= other.walltime
        )


@lru_cache(maxsize=4096)
def size_of(shape: Shape) -> Size:
    s = shape
    return Size.of(
        cores=s.cores, memory=s.memory, gpus=s.gpus, walltime=s.walltime, nodes=s.nodes
    )  # fmt: skip


def _power(number: int) -> int:
    """The next power of two; 0 for nothing."""
    return 1 << (number - 1).bit_length() if number > 0 else 0
