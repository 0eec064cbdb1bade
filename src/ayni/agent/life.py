"""What an attempt's end means: from what the executor saw to what the hub is told. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ayni.agent.executors.base import Allocation, EndReason, JobState, JobStatus
from ayni.protocol.attempts import AttemptState
from ayni.protocol.messages import (
    AllocationReport,
    CommandReport,
    LogReport,
    OutputReport,
    Report,
    UsageReport,
)
from ayni.protocol.policy import Reason

S = AttemptState

GOES_ON = 75  # EX_TEMPFAIL of sysexits.h: by this exit code a link of a chain asks for the next one

OVER_QUOTA = "its project holds more in volumes than the site allows"

#: Ends that are the commands' own doing: final for the task.
_FAULT_OF_THE_TASK = {
    EndReason.TIMEOUT: ("walltime", "ran longer than its walltime; ask for more of it"),
    EndReason.MEMORY: ("memory", "used more memory than it asked for; ask for more ram_gb"),
    EndReason.PROCESSES: ("processes", "had more processes than this site allows one task"),
    EndReason.FENCED: ("volume", "its volume is another attempt's now"),
    EndReason.DISK: ("disk", "took more of the disk than this site allows; ask for more disk_gb"),
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """How an attempt is to end, provided that what it leaves can be delivered."""

    state: AttemptState
    reason: Reason | None = None

    @property
    def good(self) -> bool:
        return self.state is S.COMPLETE


def verdict(
    status: JobStatus,
    ignore_errors: Sequence[bool],
    doom: AttemptState | None = None,
    *,
    followed: bool = False,
) -> Verdict:
    """What the end of a job means.

    Args:
        status: ended or lost.
        ignore_errors: for each command, whether its exit code counts for nothing.
        doom: the end that was decided while the job still ran.
        followed: it is a link of a chain, and not the last one that there may be.
    """
    if doom is S.CANCELED:
        return Verdict(S.CANCELED)
    if doom is S.EXECUTOR_ERROR:
        return Verdict(S.EXECUTOR_ERROR, Reason(code="quota", message=OVER_QUOTA))
    if status.state is JobState.LOST:
        return Verdict(S.LOST, _reason("lost", status, "nobody saw how the job ended"))
    asked = _asks_to_go_on(status, ignore_errors) if followed and doom is None else None
    if asked is not None:
        return asked
    if status.reason is EndReason.CANCELED:
        if doom is S.WITHDRAWN:
            return Verdict(S.WITHDRAWN)
        return Verdict(S.SYSTEM_ERROR, _reason("canceled_at_site", status, "ended by the site"))
    if status.reason is EndReason.START_FAILED:
        return Verdict(S.SYSTEM_ERROR, _reason("start", status, "the job could not be started"))
    if status.reason is EndReason.CROWDED:
        return Verdict(S.SYSTEM_ERROR, _reason("disk", status, "the site's disk was nearly full"))
    if followed and status.reason is EndReason.TIMEOUT:
        message = "its walltime is over; the next link of its chain goes on"
        return Verdict(S.UNFINISHED, Reason(code="walltime", message=message))
    if status.reason in _FAULT_OF_THE_TASK:
        code, message = _FAULT_OF_THE_TASK[status.reason]
        return Verdict(S.EXECUTOR_ERROR, _reason(code, status, message))
    for number, (result, ignore) in enumerate(zip(status.results, ignore_errors, strict=False)):
        if result.exit_code and not ignore:
            message = f"command {number} ended with exit code {result.exit_code}"
            return Verdict(
                S.EXECUTOR_ERROR,
                Reason(
                    code="exit",
                    message=message + _signal(result.exit_code),
                    parameters={"command": number, "exit_code": result.exit_code},
                ),
            )
    if len(status.results) < len(ignore_errors):
        return Verdict(S.SYSTEM_ERROR, _reason("lost", status, "not every command was run"))
    return Verdict(S.COMPLETE)


def _asks_to_go_on(status: JobStatus, ignore_errors: Sequence[bool]) -> Verdict | None:
    """A link that left off by itself: at its own wish, or when its site was about to end it."""
    if status.reason not in (EndReason.EXITED, EndReason.CANCELED):
        return None
    for number, (result, ignore) in enumerate(zip(status.results, ignore_errors, strict=False)):
        if result.exit_code and not ignore:
            if result.exit_code != GOES_ON:
                return None
            message = f"command {number} asks to go on; the next link of its chain does"
            return Verdict(S.UNFINISHED, Reason(code="go-on", message=message))
    return None


def _signal(exit_code: int) -> str:
    return f" (killed by signal {exit_code - 128})" if exit_code > 128 else ""


def _reason(code: str, status: JobStatus, otherwise: str, **parameters: Any) -> Reason:
    return Reason(code=code, message=status.message or otherwise, parameters=parameters)


#: Of one report: the hub takes 8 MiB in a request, compressed, and one report must always fit.
MAX_NAMES = 6 << 20  # bytes of the outputs' paths and URLs
MAX_TAILS = 4 << 20  # bytes of all tails


def names_size(outputs: Iterable[OutputReport]) -> int:
    """Bytes that the names of outputs take in a report."""
    return sum(len(o.path.encode()) + len(o.url.encode()) for o in outputs)


def fitting(logs: Sequence[LogReport]) -> list[LogReport]:
    """The logs with their tails cut so that they fit into one report: the longest lose most."""
    if sum(len(log.tail.encode()) for log in logs) <= MAX_TAILS:
        return list(logs)
    share = MAX_TAILS // len(logs)
    return [
        log.model_copy(update={"tail": log.tail.encode()[-share:].decode("utf-8", "ignore")})
        for log in logs
    ]


def allocation_report(given: Allocation) -> AllocationReport:
    """What the accounting says, as the hub is told."""
    return AllocationReport(**asdict(given))


def note_status(report: Report, status: JobStatus) -> None:
    """Take into a report what the executor says of its job."""
    report.host = status.host or report.host
    report.started = status.started or report.started
    if status.state not in (JobState.ENDED, JobState.LOST):
        return
    report.ended = status.ended or report.ended
    report.commands = [
        CommandReport(exit_code=r.exit_code, started=r.started, ended=r.ended)
        for r in status.results
    ]
    if status.usage is not None:
        usage = status.usage
        report.usage = UsageReport(
            job=status.id,
            cores=usage.cores,
            nodes=usage.nodes,
            gpus=usage.gpus,
            wall=usage.wall,
            cpu=usage.cpu,
            peak_memory=usage.peak_memory,
            queue_wait=usage.queue_wait,
        )
