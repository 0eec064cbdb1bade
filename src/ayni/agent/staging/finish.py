"""After the jobs: what may leave is hashed and sent, for many attempts at a time.

Outputs in project files are sent by blocks and committed by the hub when it hears of them. Outputs
to other URLs are sent by one PUT each before that, so they may arrive more than once, and also from
an attempt that in the end does not count.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from ayni.agent.datasets import Datasets
from ayni.agent.staging import logs
from ayni.agent.staging.beneath import Root
from ayni.agent.staging.errors import StagingError, broken_promise
from ayni.agent.staging.filling import Settings, disk_error
from ayni.agent.staging.https import Web
from ayni.agent.staging.hub import HubFiles, Upload
from ayni.agent.staging.inputs import load, rule_now
from ayni.agent.staging.outputs import Found, Search, open_again
from ayni.protocol import release
from ayni.protocol.attempts import AttemptState
from ayni.protocol.messages import Assignment, LogReport, OutputReport
from ayni.tes.urls import SCHEME
from ayni.transfer import Mover, Stopped, TransferError

_SMALL = 4 << 20  # bytes of an attempt: up to this, attempts are sent together


@dataclass(frozen=True, slots=True)
class Ended:
    """An attempt whose job has ended.

    Attributes:
        succeeded: every command returned as it should, so that outputs are kept.
        relayed: what it still has to say on channels is relayed.
        final: the task ends with this attempt. Of one that will be tried again, nothing of
            restricted data leaves, or each try would have the whole limit anew.
    """

    assignment: Assignment
    folder: Path
    succeeded: bool
    final: bool = True
    relayed: bool = True


@dataclass(slots=True)
class Finished:
    """What the attempt's report says of its files.

    Attributes:
        error: why the outputs could not be kept; then none is reported.
        lines: for the system log.
    """

    attempt: str
    outputs: list[OutputReport] = field(default_factory=list)
    logs: list[LogReport] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    error: StagingError | None = None


@dataclass(slots=True)
class _Leaving:
    """What of one attempt is to be sent."""

    ended: Ended
    result: Finished
    rule: release.Rule
    sent: int = 0  # bytes, by channels
    found: list[Found] = field(default_factory=list)
    logs: list[logs.Log] = field(default_factory=list)  # those that outgrow their tails

    @property
    def size(self) -> int:
        return sum(f.size for f in self.found) + sum(log.size for log in self.logs)

    @property
    def attempt(self) -> str:
        return self.result.attempt


class Finisher:
    """Brings outputs and logs out. One to an agent; `finish` may be called by several threads.

    Args:
        spent: bytes that a task has sent by channels already.
    """

    def __init__(
        self,
        settings: Settings,
        datasets: Datasets,
        hub: HubFiles,
        mover: Mover,
        web: Web,
        spent: Callable[[str], int] = lambda task: 0,
    ) -> None:
        self._settings = settings
        self._datasets = datasets
        self._hub = hub
        self._mover = mover
        self._web = web
        self._spent = spent
        self._pool = ThreadPoolExecutor(settings.transfers, thread_name_prefix="ayni-finish")

    def close(self) -> None:
        """Wait for what is under way; set the `stop` events first to make that short."""
        self._pool.shutdown(cancel_futures=True)

    def finish(
        self,
        ended: Sequence[Ended],
        stop: threading.Event | None = None,
        stops: Mapping[str, threading.Event] = {},
    ) -> Iterator[Finished]:
        """Find, judge and send. Doing it again after a crash sends only what is still missing.

        Args:
            ended: each is told once.
            stop: ends all that are sent together.
            stops: by attempt, ends a large one, which is sent by itself.

        Yields:
            What to report, as it becomes known: those that send nothing first.
        """
        small, large = [], []
        for one in ended:
            leaving = self._look(one)
            if not (leaving.found or leaving.logs):
                yield leaving.result
            elif leaving.size <= _SMALL:
                small.append(leaving)
            else:
                large.append(leaving)
        jobs = [
            self._pool.submit(self._send, [leaving], stops.get(leaving.attempt, stop))
            for leaving in large
        ]
        if small:
            jobs.append(self._pool.submit(self._send, small, stop))
        for job in as_completed(jobs):
            yield from job.result()

    # --- what there is, and whether it may leave ---

    def _look(self, ended: Ended) -> _Leaving:
        """What there is; a folder in disorder is its own attempt's matter only."""
        try:
            return self._find(ended)
        except OSError as error:
            failed = disk_error(error)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            failed = StagingError("folder", f"its folder is in disorder: {type(error).__name__}")
        return _Leaving(ended, Finished(ended.assignment.attempt, error=failed), release.CLOSED)

    def _find(self, ended: Ended) -> _Leaving:
        assignment = ended.assignment
        prepared = load(assignment.attempt, ended.folder)
        rule = rule_now(assignment, ended.folder, self._datasets)
        sent = self._spent(assignment.task_id) if not rule.free else 0
        leaving = _Leaving(ended, Finished(assignment.attempt), rule, sent)
        outputs = assignment.task.get("outputs") or ()
        if ended.succeeded and outputs:
            mounts = [bind.target for bind in prepared.binds]
            room = max(int(assignment.shape.get("disk") or 0), self._settings.disk)
            try:
                with Root(ended.folder / "root") as root:
                    search = Search(root, mounts, room, rule.names_in_words, leaving.result.lines)
                    leaving.found = search.find(outputs)
            except StagingError as error:
                leaving.result.error = error
        self._judge(leaving, logs.find(ended.folder))
        return leaving

    def _judge(self, leaving: _Leaving, written: Sequence[logs.Log]) -> None:
        """Let go, or hold back, by the rule; the tails are read here."""
        rule, result = leaving.rule, leaving.result
        if not rule.free and not leaving.ended.final:
            result.lines.append(f"logs stay at the site: {_why(rule)}")
            return
        if rule.release is release.Release.NOTHING:
            result.lines.append(f"outputs and logs stay at the site: {_why(rule)}")
            if leaving.found:
                leaving.found = []
                result.error = StagingError(release.CODE, f"outputs may not leave: {_why(rule)}")
            return
        # One that outgrew the limit need not be read to know it.
        if over := release.over(
            rule, _sizes(leaving.found), (log.size for log in written), leaving.sent
        ):
            self._hold_back(leaving, over)
            return
        result.logs = [logs.tail(log) for log in written]
        leaving.logs = [log for log in written if log.outgrows_tail]

    def _hold_back(self, leaving: _Leaving, why: str) -> None:
        result = leaving.result
        leaving.found, leaving.logs, result.logs, result.outputs = [], [], [], []
        if leaving.ended.succeeded:
            result.error = StagingError(release.CODE, why)
        else:
            result.lines.append(f"logs stay at the site: {why}")

    # --- sending ---

    def _send(self, leavings: Sequence[_Leaving], stop: threading.Event | None) -> list[Finished]:
        """Hash, judge once more by what was read, send."""
        uploads: list[Upload] = []
        for leaving in leavings:
            try:
                uploads += self._describe(leaving, stop)
            except (StagingError, TransferError, OSError, Stopped) as error:
                leaving.result.error = _told(leaving.rule, _as_staging(error))
                leaving.found, leaving.logs = [], []
        sent: dict[tuple[str, str], str | StagingError] = {}
        try:
            results = self._mover.send_many(uploads, self._hub.ask, stop=stop)
            for upload, result in zip(uploads, results, strict=True):
                sent[upload.attempt, upload.url] = (
                    _as_staging(result) if isinstance(result, TransferError) else result
                )
        except Stopped as error:
            stopped = _as_staging(error)
            sent = {(upload.attempt, upload.url): stopped for upload in uploads}
        for leaving in leavings:
            self._settle(leaving, sent)
        return [leaving.result for leaving in leavings]

    def _describe(self, leaving: _Leaving, stop: threading.Event | None) -> list[Upload]:
        """Hash all; what goes to foreign URLs goes now."""
        root = leaving.ended.folder / "root"
        described = [
            (found, self._mover.describe(partial(open_again, root, found.place), stop=stop))
            for found in leaving.found
        ]
        sizes = [(found.path, what.size) for found, what in described]
        counted = [max(log.size, len(log.tail.encode())) for log in leaving.result.logs]
        if over := release.over(leaving.rule, sizes, counted, leaving.sent):
            self._hold_back(leaving, over)
            return []
        uploads = []
        for found, what in described:
            leaving.result.outputs.append(
                OutputReport(url=found.url, path=found.path, size=what.size, sha256=what.sha256)
            )
            source = partial(open_again, root, found.place)
            if found.url.startswith(SCHEME):
                uploads.append(Upload(source, what, found.path, leaving.attempt, found.url))
            else:
                halt = stop.is_set if stop else _never
                self._web.put(found.url, source, what.size, halt)
        for log in leaving.logs:
            source = partial(open_again, log.path.parent, log.path.name)
            what = self._mover.describe(source, stop=stop)
            uploads.append(Upload(source, what, log.url, leaving.attempt, log.url))
        return uploads

    def _settle(
        self, leaving: _Leaving, sent: Mapping[tuple[str, str], str | StagingError]
    ) -> None:
        """Write into the report where everything is, or why it is not."""
        result = leaving.result
        for output in result.outputs:
            if not output.url.startswith(SCHEME):
                continue
            found = sent.get((leaving.attempt, output.url))
            if isinstance(found, str):
                output.upload = found
            elif result.error is None:
                result.error = _told(leaving.rule, found or _unsent(output.path))
        for report in result.logs:
            found = sent.get((leaving.attempt, f"log:{report.command}.{report.stream}"))
            if isinstance(found, str):
                report.upload = found
            elif found is not None:  # a log is not worth the attempt
                result.lines.append(
                    f"only the end of command {report.command}'s {report.stream} could be kept: "
                    f"{found.message}"
                )
        if result.error is not None:
            result.outputs = []
            if not leaving.rule.free and result.error.state is not AttemptState.EXECUTOR_ERROR:
                result.logs = []  # another try may follow


def _sizes(found: Iterable[Found]) -> Iterator[tuple[str, int]]:
    return ((one.path, one.size) for one in found)


def _why(rule: release.Rule) -> str:
    if rule.release is release.Release.NOTHING:
        return f"dataset {rule.dataset} lets nothing leave"
    return f"dataset {rule.dataset} lets aggregates leave only with the attempt that counts"


def _told(rule: release.Rule, error: StagingError) -> StagingError:
    """The error, without names of files that the job may have chosen where they may not leave."""
    if rule.names_in_words:
        return error
    words = "its outputs could not be read or sent"
    return StagingError(error.code, words, retryable=error.retryable, state=error.state)


def _unsent(path: str) -> StagingError:
    return StagingError("output", f"{path!r} was not sent", retryable=True)


def _as_staging(error: Exception) -> StagingError:
    if isinstance(error, StagingError):
        return error
    if isinstance(error, TransferError):
        changed = error.code == "changed"
        if changed:
            return broken_promise(error.code, str(error))
        return StagingError(error.code, str(error), retryable=error.retryable)
    if isinstance(error, Stopped):
        return StagingError("stopped", "sending the outputs was stopped", retryable=True)
    if isinstance(error, OSError):
        return disk_error(error)
    raise error


def _never() -> bool:
    return False
