"""When one more task of each size would start, as the scheduler sees it.

Of batch jobs that wait it says so in every answer to squeue. Of sizes that are asked for, of which none
waits and for which no node has room, `sbatch --test-only` asks: one size every ten seconds at most, each
every two minutes. Its answer is a bound: it looks at what runs and at some of what waits, and at no limits
of a QOS.
"""

from __future__ import annotations

import heapq
import logging
import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from ayni.agent.executors.base import ExecutorUnavailable, ExpectedStart, PartitionInfo
from ayni.agent.executors.slurm import pools, script
from ayni.agent.executors.slurm.allowance import Allowance
from ayni.agent.executors.slurm.books import Books, Pilot, Pool
from ayni.agent.executors.slurm.pools import Key
from ayni.agent.executors.slurm.script import Rules
from ayni.agent.executors.slurm.tool import Full, Refused, Slurm
from ayni.tes.size import Size

log = logging.getLogger(__name__)

_EVERY = 10.0  # seconds between two questions
_VALID = 120.0  # seconds after which a size is asked about anew …
_WANTED = 3600.0  # … for as long after a task of it was here
_MOST = 8  # sizes of one partition that are asked about
_USUAL = Key("", "", "", cores=1, memory=1 << 30, walltime=3600, grace=10.0, gpus=0)

Place = tuple[str, Size]  # a partition, and how large tasks are
Starts = Mapping[str, tuple[ExpectedStart, ...]]  # by partition, each size once


def size_of(key: Key) -> Size:
    return Size.of(
        cores=key.cores,
        memory=key.memory,
        gpus=key.gpus,
        walltime=key.walltime,
        nodes=key.nodes,
    )


def of_queue(
    pools_: Iterable[Pool], pilots: Iterable[Pilot], now: float
) -> dict[Place, ExpectedStart]:
    """What squeue said of our batch jobs that wait, by partition and size; the later one of two pools'.

    Args:
        pools_: all pools.
        pilots: all batch jobs.
        now: Unix seconds.
    """
    by_pool: dict[str, list[Pilot]] = defaultdict(list)
    for found in pilots:
        if found.gone is None and not found.withdrawn:
            by_pool[found.pool].append(found)
    answer: dict[Place, ExpectedStart] = {}
    for pool in pools_:
        place = pool.key.partition, size_of(pool.key)
        start = _of_pool(pool, by_pool[pool.key.name], now)
        if start is not None and (place not in answer or start.at > answer[place].at):
            answer[place] = start
    return answer


def _of_pool(pool: Pool, pilots: Sequence[Pilot], now: float) -> ExpectedStart | None:
    """When one more task of a pool would start: by the last of the batch jobs that wait, or sooner.

    It may be sooner by one that is done with those before it: batch jobs take one task after another, and
    where tasks are short those that run take more, too, whatever the scheduler says. Where it has not come
    to all that wait yet, what it said is a bound.
    """
    waiting = [found for found in pilots if found.waiting]
    starts = [(found.start, found.slots) for found in waiting if found.start is not None]
    each = pools.expected(pool.key, pool.seen)
    short = each <= pools.SHORT
    running = [(now, p.slots) for p in pilots if short and p.took and not p.closed]
    slots = [max(now, at) for at, count in (*starts, *running) for _ in range(count)]
    if not slots:
        return None
    last = max((at for at, _ in starts), default=math.inf)
    at = next_start(slots, len(pool.waiting), each, last)
    return ExpectedStart(size_of(pool.key), at, at_least=0 < len(starts) < len(waiting))


def next_start(slots: Iterable[float], ahead: int, each: float, last: float) -> float:
    """When one more task starts on slots that come free at these times.

    Args:
        slots: when each is free.
        ahead: tasks before it.
        each: seconds that a task takes.
        last: by then it starts at the latest.
    """
    free = sorted(slots)
    for _ in range(ahead):
        if free[0] >= last:
            return last
        heapq.heapreplace(free, free[0] + each)
    return min(free[0], last)


@dataclass(slots=True)
class _Wanted:
    """A size that is asked about; times are monotonic."""

    key: Key
    since: float  # when a task of it was last here
    asked: float = float("-inf")
    answer: float | None = None  # Unix seconds


class Foresight:
    """What is known of starts; asks what is not."""

    def __init__(
        self,
        slurm: Slurm,
        rules: Rules,
        allowance: Allowance,
        books: Books,
        clock: Callable[[], float],
    ) -> None:
        self._slurm = slurm
        self._rules = rules
        self._allowance = allowance
        self._books = books
        self._clock = clock
        self._wanted: dict[Place, _Wanted] = {}
        self._next = float("-inf")

    def starts(self) -> Starts:
        """What is known now."""
        found: dict[Place, ExpectedStart] = {
            place: ExpectedStart(place[1], wanted.answer, at_least=True)
            for place, wanted in self._wanted.items()
            if wanted.answer is not None and self._is_full(wanted.key)
        }
        found |= self._of_queue()
        by_partition: dict[str, list[ExpectedStart]] = defaultdict(list)
        for (partition, _), start in found.items():
            by_partition[partition].append(start)
        return {name: tuple(starts) for name, starts in by_partition.items()}

    def _is_full(self, key: Key) -> bool:
        """Whether no node has room for one more now: else what was said while all was full is over."""
        room = self._allowance.room(key)
        return room is not None and not room.has_free(key)

    def _of_queue(self) -> dict[Place, ExpectedStart]:
        return of_queue(self._books.pools.values(), self._books.pilots.values(), time.time())

    def ask(self) -> None:
        """Ask about the size whose answer is oldest, if it is time to. Nothing depends on an answer."""
        now = self._clock()
        if now < self._next:
            return
        self._next = now + _EVERY
        try:
            self._ask(now)
        except ExecutorUnavailable as error:
            log.warning("no start can be foreseen: %s", error)

    def _ask(self, now: float) -> None:
        self._want(now)
        told = self._of_queue()
        due = [
            wanted
            for place, wanted in self._wanted.items()
            if place not in told and now - wanted.asked >= _VALID and self._is_full(wanted.key)
        ]
        if due:
            self._test(min(due, key=lambda wanted: wanted.asked), now)

    def _want(self, now: float) -> None:
        """Sizes of tasks that are here or were lately, and in each partition one of the usual size."""
        usual = [_usual(info.name, info.max_walltime) for info in self._allowance.cluster.infos({})]
        for key in [*usual, *(pool.key for pool in self._books.pools.values())]:
            place = key.partition, size_of(key)
            self._wanted.setdefault(place, _Wanted(key, now)).since = now
        newest = sorted(self._wanted, key=lambda place: -self._wanted[place].since)
        counts: dict[str, int] = defaultdict(int)
        for place in newest:
            counts[place[0]] += 1
            old = now - self._wanted[place].since > _WANTED
            if old or counts[place[0]] > _MOST:
                del self._wanted[place]

    def _test(self, wanted: _Wanted, now: float) -> None:
        wanted.asked, wanted.answer = now, None
        room = self._allowance.room(wanted.key)
        if room is None:
            return
        batch = pools.batch(wanted.key, room, waiting=1, pending=0, running=0, seen=None, most=1)
        assert batch is not None
        options = script.options("ayni-foresight", batch, wanted.key, self._rules, "/dev/null")
        try:
            wanted.answer = self._slurm.test_only(options)
        except (Refused, Full):  # nothing is known; who submits such a task hears why
            return


def with_starts(infos: Iterable[PartitionInfo], found: Iterable[Starts]) -> list[PartitionInfo]:
    """The partitions with what is foreseen there; of what several users are told, the latest."""
    latest: dict[Place, ExpectedStart] = {}
    for starts in found:
        for partition, some in starts.items():
            for start in some:
                known = latest.setdefault((partition, start.size), start)
                if start.at > known.at:
                    latest[partition, start.size] = start
    by_partition: dict[str, list[ExpectedStart]] = defaultdict(list)
    for (partition, _), start in latest.items():
        by_partition[partition].append(start)
    return [replace(info, starts=tuple(by_partition[info.name])) for info in infos]


def _usual(partition: str, max_walltime: int) -> Key:
    return replace(_USUAL, partition=partition, walltime=min(_USUAL.walltime, max_walltime))
