"""What batch jobs that are over consumed, asked of the accounting until the agent has booked it.

`STATE/accounts/JOB` is what a pilot told, kept until then: nothing is forgotten by a restart, or while
the accounting does not answer. Its last word may come later still: a controller that was killed may take
up a job that is over, and end it once more. So what was told lies in `STATE/booked/` for some days, and
the last minutes of the accounting are read again and again (`look_back`).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from ayni.agent.executors.base import Allocation, ExecutorUnavailable
from ayni.agent.executors.slurm import parse, usage
from ayni.agent.executors.slurm.tool import Slurm
from ayni.agent.supervisor import files

log = logging.getLogger(__name__)

FOLDER = "accounts"
BOOKED = "booked"
_KEEP = 3 * 86400.0  # seconds for which the accounting may change its word
_LOOK_BACK = 30.0  # … between two looks at its last minutes, if there is anything to compare
_OVERLAP = 600.0  # … by which each look reaches behind the one before: records are written late
_PROBE = 60.0  # seconds between two questions whether it answers, if there is nothing to ask
_AGAIN = 10.0  # … and after it did not
_SOON, _LATE = (
    1.0,
    10.0,
)  # seconds after which it is asked again for what it did not have, more and more
_GIVE_UP = 7 * 86400.0  # seconds after which an accounting that lacks a job always will


class Accounting:
    """The batch jobs whose usage is not booked yet."""

    def __init__(self, state: Path, slurm: Slurm, user: str) -> None:
        """Go on with what is not booked yet.

        Args:
            user: whose jobs these are, as `Slurm.accounts` takes it.
        """
        self._slurm, self._user = slurm, user
        self._next_probe = float("-inf")
        self._fails = False
        self._next_question = float("-inf")
        self._pause = _SOON
        self._folder = state / FOLDER
        self._folder.mkdir(exist_ok=True)
        self._dealt: dict[str, Mapping[str, Allocation]] = {}  # by batch job, then by task
        self._open = {path.name for path in self._folder.iterdir()}
        self._behind = state / BOOKED
        self._behind.mkdir(exist_ok=True)
        self._booked = {path.name for path in self._behind.iterdir()}
        self._ends: dict[str, set[float]] = {}  # by batch job, those of the runs that were dealt
        self._next_look = float("-inf")
        self._looked: float | None = None  # back, Unix seconds

    def keep(self, events: Path) -> None:
        """A batch job is over; its pilot told this."""
        try:
            _append(events, self._path(events.name))
        except FileNotFoundError:
            return  # it never started
        self._open.add(events.name)
        self._next_question, self._pause = float("-inf"), _SOON

    def open(self) -> Collection[str]:
        """The batch jobs to ask the accounting for."""
        return self._open - self._dealt.keys()

    def probe(self, now: float) -> None:
        """Ask now and then whether the accounting answers, for what `Slurm.health` tells."""
        if now < self._next_probe:
            return
        self._next_probe = now + _PROBE
        try:
            self._slurm.ask_accounting()
        except ExecutorUnavailable as error:
            if not self._fails:
                log.warning("the accounting cannot be asked: %s", error)
            self._fails, self._next_probe = True, now + _AGAIN
        else:
            self._fails = False

    def look_back(self, now: float) -> None:
        """See now and then whether the accounting changed what was booked; `take` then deals it anew.

        One question for all jobs that were there in the last minutes, after a start in the last days.
        """
        if now < self._next_look or self._fails or not self._booked:
            return
        self._next_look = now + _LOOK_BACK
        wall = time.time()
        since = (self._looked or wall - _KEEP) - _OVERLAP
        try:
            found = self._slurm.accounts(self._user, since, wall)
        except ExecutorUnavailable as error:
            log.warning("the accounting cannot be looked through: %s", error)
            return
        for run in found:
            known = run.ended in self._ends.get(run.id, ())
            if run.id in self._booked and run.has_run and not known:
                self._reopen(run.id)
        self._looked = wall
        self._sweep(wall - _KEEP)

    def ask(self, gone: Collection[str], now: float) -> Mapping[str, parse.Account]:
        """One question for all; an accounting that does not answer keeps nothing else waiting.

        How a task ended is asked at once. Its usage is not urgent, and each question costs slurmdbd 0.2 s.

        Args:
            gone: batch jobs that left the queue, beside those that are open.
            now: on the monotonic clock.
        """
        if self._fails:
            self.probe(now)
        wanted = {*gone, *self.open()}
        if self._fails or not wanted or not (gone or now >= self._next_question):
            return {}
        self._next_question = now + self._pause
        self._pause = min(2 * self._pause, _LATE)
        try:
            found = self._slurm.sacct(wanted)
        except ExecutorUnavailable as error:
            log.warning("the accounting cannot be asked: %s", error)
            self._fails, self._next_probe = True, now + _AGAIN
            return {}
        self._next_probe = now + _PROBE
        return found

    def take(self, accounts: Mapping[str, parse.Account], queued: Collection[str]) -> None:
        """Deal what the accounting says of those that are really over."""
        for job in list(self.open()):
            account = accounts.get(job)
            if job in queued:
                continue
            dealt = None if account is None else usage.deal(account, self._told(job))
            if dealt:
                assert account is not None
                self._dealt[job] = dealt
                self._ends[job] = {run.ended for run in account.runs if run.ended is not None}
            elif dealt is None:
                self._give_up(job)
            else:  # its pilot found no task: nobody's usage
                self._done(job)

    def allocations(self) -> Mapping[str, Allocation]:
        """By task, what is not booked yet."""
        return {task: part for dealt in self._dealt.values() for task, part in dealt.items()}

    def booked(self, tasks: Collection[str]) -> None:
        """The agent has noted what these were given."""
        for job, dealt in list(self._dealt.items()):
            left = {task: part for task, part in dealt.items() if task not in tasks}
            self._dealt[job] = left
            if not left:
                del self._dealt[job]
                self._put_by(job)

    def _told(self, job: str) -> list[list[Any]]:
        return files.lines(files.read_plain(str(self._path(job))))

    def _path(self, job: str) -> Path:
        return self._folder / job

    def _put_by(self, job: str) -> None:
        """Booked; kept, should the accounting change its word."""
        _append(self._path(job), self._behind / job)
        self._open.discard(job)
        self._booked.add(job)

    def _reopen(self, job: str) -> None:
        _append(self._behind / job, self._path(job))
        self._booked.discard(job)
        self._open.add(job)
        self._next_question = float("-inf")

    def _sweep(self, before: float) -> None:
        for job in list(self._booked):
            path = self._behind / job
            if path.stat().st_mtime < before:
                path.unlink()
                self._booked.discard(job)
                self._ends.pop(job, None)

    def _done(self, job: str) -> None:
        self._path(job).unlink(missing_ok=True)
        self._open.discard(job)

    def _give_up(self, job: str) -> None:
        if time.time() - self._path(job).stat().st_mtime > _GIVE_UP:
            log.warning("the accounting has no end of job %s; its own measurements stand", job)
            self._done(job)


def _append(events: Path, to: Path) -> None:
    """Move a file; to what is there of the same number, which was given twice, its words are added."""
    if to.exists():
        with to.open("ab") as before:
            before.write(files.read_plain(str(events)))
        events.unlink()
    else:
        events.rename(to)
