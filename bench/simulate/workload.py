"""What is submitted: columns of plain numbers, a row to a task, in the order of submission.

Tasks that are alike share a shape, as in the broker: what they ask, and for how long. A project
belongs to one site, its home. A log in the Standard Workload Format becomes a workload so:

* Each of its users is a project. The users are dealt as cards are: in the order of their first task in
  the log, one to each site in turn. So neither the number of users nor their names matter, only the log.
* A log that knows several partitions (a grid's) makes a site of each, and a user's home is the partition
  to which most of the user's tasks went.
* Where a log does not say how long a task may run, the next limit that people ask for is taken.
"""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TextIO

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
DAY, HOUR = 86400, 3600
#: The limits that people ask for.
LIMITS = (900, 1800, HOUR, 2 * HOUR, 4 * HOUR, 8 * HOUR, 12 * HOUR, DAY, 2 * DAY)


class Shape(NamedTuple):
    """What a task asks: of each node, how many nodes, of what kind, for how many seconds at most."""

    kind: str  # the partition's name: cpu or gpu
    cores: int
    memory: int  # bytes
    gpus: int
    nodes: int
    limit: int

    @property
    def need(self) -> tuple[int, int, int]:
        return self.cores * self.nodes, self.memory * self.nodes, self.gpus * self.nodes


@dataclass(frozen=True)
class Workload:
    submit: Ints  # seconds, ascending
    run: Ints  # true run time, at most the shape's limit
    shape: Ints  # its number among `shapes`
    project: Ints  # its number in `homes`
    shapes: list[Shape]
    homes: list[int]  # the site of each project, by its number

    def __len__(self) -> int:
        return len(self.submit)

    def needs(self) -> Ints:
        """Cores, memory and GPUs in all, a row to a task."""
        return np.array([s.need for s in self.shapes], dtype=np.int64)[self.shape]

    def home(self) -> Ints:
        return np.array(self.homes, dtype=np.int64)[self.project]


class Job(NamedTuple):
    """One line of a log."""

    submit: int
    wait: int  # -1: unknown
    run: int
    cores: int
    memory: int  # bytes a core; 0: unknown
    limit: int
    user: int
    partition: int


class LogError(ValueError):
    """A file that is no workload log."""


@dataclass
class Log:
    jobs: list[Job]
    procs: int  # of the machine, as its header says; 0: it does not
    skipped: int  # lines that hold no job that ran, or are broken
    thanks: str = ""  # whom its header asks to acknowledge

    @property
    def partitions(self) -> list[int]:
        return sorted({j.partition for j in self.jobs if j.partition > 0})


def read_swf(path: Path, most: int | None = None) -> Log:
    """Read a log, also compressed, line by line. Jobs that never ran and broken lines are skipped.

    Raises:
        LogError: there is no such file, or no job in it.
    """
    try:
        with _open(path) as lines:
            log = parse_swf(lines, most)
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise LogError(f"{path} cannot be read: {error}") from error
    if not log.jobs:
        raise LogError(f"{path} holds no job; is it in the Standard Workload Format?")
    return log


def _open(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="latin-1")
    return path.open(encoding="latin-1")


def parse_swf(lines: Iterable[str], most: int | None = None) -> Log:
    jobs: list[Job] = []
    procs = skipped = 0
    thanks = ""
    for line in lines:
        text = line.strip()
        if text.startswith(";"):
            what, _, value = (part.strip() for part in text.lstrip("; ").partition(":"))
            number = value.partition(" ")[0]
            if what == "MaxProcs" and number.isdigit():
                procs = procs or int(number)
            elif what == "Acknowledge":
                thanks = thanks or value
        elif text:
            job = _job(text.split())
            if job is None:
                skipped += 1
            else:
                jobs.append(job)
                if len(jobs) == most:
                    break
    jobs.sort(key=lambda j: j.submit)
    return Log(jobs, procs, skipped, thanks)


def _job(words: list[str]) -> Job | None:
    """Fields as the format numbers them, less one; -1 stands for what is not known."""
    if len(words) < 18:
        return None
    try:
        n = [int(float(word)) for word in words[:18]]
    except (ValueError, OverflowError):
        return None
    submit, wait, run = n[1], n[2], n[3]
    cores = n[4] if n[4] > 0 else n[7]
    if submit < 0 or run < 0 or cores <= 0:
        return None
    run = max(run, 1)  # what ended within its first second
    memory = max(n[9], n[6], 0) * 1024  # kilobytes a processor, asked or used
    limit = n[8] if n[8] > 0 else next((limit for limit in LIMITS if limit >= run), run)
    # The log's machine let it run as long as it did: no limit is shorter.
    return Job(submit, wait, run, cores, memory, max(limit, run), n[11], n[15])


def peak(jobs: Iterable[Job]) -> int:
    """The most cores that were in use at once, by the log's own account."""
    steps: Counter[int] = Counter()
    for job in jobs:
        begin = job.submit + max(0, job.wait)
        steps[begin] += job.cores
        steps[begin + job.run] -= job.cores
    most = now = 0
    for _, step in sorted(steps.items()):
        now += step
        most = max(most, now)
    return most


def deal(log: Log, sites: int) -> dict[int, int]:
    """The home of each user: see the head of this file."""
    if len(log.partitions) > 1:
        number = {partition: n for n, partition in enumerate(log.partitions)}
        went: dict[int, Counter[int]] = {}
        for job in log.jobs:
            went.setdefault(job.user, Counter())[number.get(job.partition, 0)] += 1
        return {user: min(c, key=lambda s: (-c[s], s)) for user, c in went.items()}
    users = dict.fromkeys(job.user for job in log.jobs)
    return {user: n % sites for n, user in enumerate(users)}


def from_log(log: Log, sizes: list[int], load: float | None) -> Workload:
    """A workload for sites of `sizes` cores. A processor of the log is a node of one core.

    Submissions are moved together or apart, all by one factor, so that the sites are loaded to `load`;
    None: as the log's own machine was. A task that is larger than its home is cut to its home's size.
    """
    homes = deal(log, len(sizes))
    users = {user: n for n, user in enumerate(homes)}
    shapes: dict[Shape, int] = {}
    rows = []
    for job in log.jobs:
        cores = min(job.cores, sizes[homes[job.user]])
        shape = Shape("cpu", 1, max(1, job.memory), 0, cores, job.limit)
        rows.append(
            (job.submit, job.run, shapes.setdefault(shape, len(shapes)), users[job.user], cores)
        )
    table = np.array(rows, dtype=np.int64)
    area = float((table[:, 1] * table[:, 4]).sum())
    first = table[0, 0]
    span = max(1.0, float(table[-1, 0] - first))
    if load is None:
        load = min(1.0, area / (span * (log.procs or max(sizes))))
        if len(log.partitions) > 1:
            load = area / (span * sum(sizes))
    factor = area / (load * sum(sizes)) / span
    submit = np.rint((table[:, 0] - first) * factor).astype(np.int64)
    return Workload(
        submit, table[:, 1], table[:, 2], table[:, 3], list(shapes), list(homes.values())
    )


def in_order(
    rows: Iterator[tuple[int, int, int, int]], shapes: list[Shape], homes: list[int]
) -> Workload:
    """A workload of rows (submit, run, shape, project) in any order: for tests."""
    table = np.array(sorted(rows), dtype=np.int64).reshape(-1, 4)
    return Workload(table[:, 0], table[:, 1], table[:, 2], table[:, 3], shapes, homes)
