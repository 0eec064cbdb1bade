"""What the Slurm executor knows: its tasks, the pools they wait in, the pilots that take them.

All of it can be read again from the state folder, the claims in the jobs' folders and squeue.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ayni.agent.executors.slurm.pools import Key
from ayni.agent.supervisor import files, pilot, sharing

_JOB = re.compile(r"[0-9]+(_[0-9]+)?")
AGENT = "agent"  # claims a task that is canceled before any pilot took it
ANY = 1 << 20  # batch jobs in one submission: no limit of the site is known
_UNHEARD = (
    60.0  # seconds after which a batch job that runs has told of it, also by a slow shared disk
)
_MEMORY = 0.3  # weight of the newest task in the mean of what tasks take


@dataclass(slots=True)
class Task:
    """A task in hand."""

    id: str
    folder: str
    pool: str
    entry: str  # its name in the pool's folder
    pilot: str | None = None  # the batch job that has it …
    since: float = 0.0  # … and when we heard of it, on the monotonic clock
    ended: bool = False


@dataclass(slots=True)
class Pool:
    """Like tasks.

    Attributes:
        waiting: tasks that nobody has claimed, as far as is known.
        seen: how long tasks took, in seconds, as a moving mean; None if none has ended.
        most: batch jobs in one submission, as a limit of the site has taught.
        barren: how many times in a row its batch jobs ended without a task, though some waited.
        pause: seconds after the last submission until the next.
        quiet_until: not before this does the pool submit again.
    """

    key: Key
    waiting: set[str] = field(default_factory=set)
    seen: float | None = None
    most: int = ANY
    barren: int = 0
    pause: float = 0.0
    quiet_until: float = 0.0

    def took(self, seconds: float) -> None:
        self.seen = seconds if self.seen is None else self.seen + _MEMORY * (seconds - self.seen)


@dataclass(slots=True)
class Pilot:
    """A batch job of ours, or an element of an array.

    Attributes:
        live: tasks that it has started and of whose end it has not told.
        read: how much of its events has been read, in bytes.
        took: it has taken a task: until then, or until it is closed, those that wait may be its own.
        closed: it takes no more tasks.
        withdrawn: it was canceled while it waited.
        start: while it waits, when the scheduler expects it to start, in Unix seconds.
        since: since when squeue shows it running, on the monotonic clock …
        gone: … and since when it does not show it.
    """

    id: str
    pool: str
    slots: int
    submitted: float  # monotonic
    waiting: bool = True
    node: str = ""
    signaled: float | None = None
    live: set[str] = field(default_factory=set)
    read: int = 0
    since: float | None = None
    gone: float | None = None
    took: bool = False
    closed: bool = False
    withdrawn: bool = False
    start: float | None = None

    def is_silent(self, now: float) -> bool:
        """Whether it runs, as squeue has it, and has not said so: a killed controller knows old news."""
        return not self.node and self.since is not None and now - self.since > _UNHEARD


class Books:
    """The tasks, pools and pilots of one state folder."""

    def __init__(self, state: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._state = state
        self._clock = clock
        for name in (pilot.POOLS, pilot.EVENTS, pilot.CANCELS, pilot.LOGS):
            (state / name).mkdir(parents=True, exist_ok=True)
        self.tasks: dict[str, Task] = {}
        self.pools: dict[str, Pool] = {}
        self.pilots: dict[str, Pilot] = {}
        self._last_entry = 0

    def recover(self, specs: Iterator[dict[str, Any]]) -> None:
        """Take up what an earlier executor left.

        Args:
            specs: the jobs' files.
        """
        for path in (self._state / pilot.POOLS).glob("*.json"):
            data = files.read_json(str(path))
            if data is not None:
                self.pools[path.stem] = Pool(Key.from_json(data))
        for spec in specs:
            pool = self.pools.get(spec["pool"])
            if pool is None:  # its file was lost
                pool = self.pool(Key.from_json(spec["key"]))
            task = Task(spec["id"], spec["folder"], spec["pool"], spec["entry"])
            self.tasks[task.id] = task
            tag = files.claim_tag(task.folder)
            if tag is None:
                self._enter(task)
                pool.waiting.add(task.id)
                continue
            job = tag.rpartition(".")[0]
            # Where the pilot's words are still there, they tell whose doing the end was.
            if tag == AGENT or not (self._state / pilot.EVENTS / job).exists():
                task.ended = files.read_exit(task.folder) is not None
            if not task.ended and tag != AGENT:
                self.claimed(task, job)

    def broken_off(self) -> list[Task]:
        """Tasks that an earlier executor claimed, and stopped before it could say why."""
        waiting = {job_id for pool in self.pools.values() for job_id in pool.waiting}
        return [
            task
            for task in self.tasks.values()
            if not task.ended and task.pilot is None and task.id not in waiting
        ]

    def pool(self, key: Key) -> Pool:
        """The pool of a key; made, on the disk too, if there is none."""
        name = key.name
        if name not in self.pools:
            folder = self._state / pilot.POOLS / name
            sharing.make_alike(str(folder))
            files.write_json(f"{folder}.json", key.as_json())
            self.pools[name] = Pool(key)
        return self.pools[name]

    def entry(self, job_id: str) -> str:
        """A new entry's name: later ones sort behind."""
        self._last_entry = max(self._last_entry + 1, time.time_ns() // 1000)
        return f"{self._last_entry:017d}.{job_id}"

    def add(self, task: Task) -> None:
        self._enter(task)
        self.tasks[task.id] = task
        self.pools[task.pool].waiting.add(task.id)

    def _enter(self, task: Task) -> None:
        sharing.make_alike(str(self._state / pilot.POOLS / task.pool))
        files.touch(str(self._entry(task)))

    def _entry(self, task: Task) -> Path:
        return self._state / pilot.POOLS / task.pool / task.entry

    def claimed(self, task: Task, job: str) -> Pilot:
        """A task was taken by a batch job, which may be one that was forgotten."""
        found = self.pilots.get(job)
        if found is None:
            found = self.pilots[job] = Pilot(job, task.pool, 1, self._clock(), waiting=False)
        if task.pilot is None:
            task.pilot, task.since = job, self._clock()
        found.took = True
        found.live.add(task.id)
        pool = self.pools[task.pool]
        pool.waiting.discard(task.id)
        pool.barren = 0
        return found

    def find_claims(self) -> None:
        """Tasks that a batch job took without our hearing of it: Slurm had called it over, say."""
        for name, pool in self.pools.items():
            if not pool.waiting:
                continue
            entries = {path.name for path in (self._state / pilot.POOLS / name).iterdir()}
            taken = [t for t in map(self.tasks.__getitem__, pool.waiting) if t.entry not in entries]
            for task in taken:
                tag = files.claim_tag(task.folder)
                if tag is None:
                    self._enter(task)
                elif tag != AGENT:
                    self.claimed(task, tag.rpartition(".")[0])

    def ended(self, task: Task) -> None:
        task.ended = True
        self.pools[task.pool].waiting.discard(task.id)
        if task.pilot is not None and (found := self.pilots.get(task.pilot)) is not None:
            found.live.discard(task.id)

    def forget(self, task_id: str) -> None:
        """Nobody needs this task any more."""
        task = self.tasks.pop(task_id, None)
        paths = [self._state / pilot.CANCELS / task_id]
        if task is not None:
            self.ended(task)
            paths.append(self._entry(task))
        for path in paths:
            path.unlink(missing_ok=True)

    def have_events(self) -> bool:
        """Whether any batch job's usage is still to be asked for."""
        return any((self._state / pilot.EVENTS).iterdir())

    def stray_events(self, queued: Collection[str]) -> list[Path]:
        """What batch jobs told that are over and of which no task is left."""
        return [
            path
            for path in (self._state / pilot.EVENTS).iterdir()
            if path.name not in queued
            and path.name not in self.pilots
            and _JOB.fullmatch(path.name)
        ]

    def drop_idle_pools(self) -> None:
        """Pools without a task or a pilot."""
        used = {task.pool for task in self.tasks.values()}
        used |= {found.pool for found in self.pilots.values()}
        for name in [name for name in self.pools if name not in used]:
            del self.pools[name]
            folder = self._state / pilot.POOLS / name
            Path(f"{folder}.json").unlink(missing_ok=True)
            self.log(name).unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # a task came in by another way: kept
                folder.rmdir()

    def events(self) -> Iterator[tuple[str, list[Any]]]:
        """What pilots have told since this was last asked: the batch job and the words."""
        for path in (self._state / pilot.EVENTS).iterdir():
            known = self.pilots.get(path.name)
            read = 0 if known is None else known.read
            try:
                data = files.read_plain(str(path), read)
            except FileNotFoundError:
                continue
            whole = data[: data.rfind(b"\n") + 1]
            for words in files.lines(whole):
                yield path.name, words
            if (known := self.pilots.get(path.name)) is not None:
                known.read = read + len(whole)

    def log(self, pool: str) -> Path:
        """Where the pilots of a pool say what is nobody's business but the operator's."""
        return self._state / pilot.LOGS / f"{pool}.log"

    def cancel_mark(self, task_id: str) -> Path:
        return self._state / pilot.CANCELS / task_id
