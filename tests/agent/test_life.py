"""What the end of a job means for its attempt, as a table."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ayni.agent import life
from ayni.agent.executors.base import CommandResult, EndReason, JobState, JobStatus, Usage
from ayni.agent.life import note_status, verdict
from ayni.protocol.attempts import FINAL, AttemptState
from ayni.protocol.messages import LogReport, Report

S = AttemptState


def status(*codes: int, reason: EndReason | None = EndReason.EXITED, **more: Any) -> JobStatus:
    results = tuple(CommandResult(code, 1.0, 2.0) for code in codes)
    return JobStatus("a", JobState.ENDED, 1.0, 2.0, results, reason, **more)


LOST = JobStatus("a", JobState.LOST)


@pytest.mark.parametrize(
    ("job", "ignore", "doom", "state", "code"),
    [
        (status(0), [False], None, S.COMPLETE, None),
        (status(0, 0), [False, False], None, S.COMPLETE, None),
        (status(1), [False], None, S.EXECUTOR_ERROR, "exit"),
        (status(1, 0), [True, False], None, S.COMPLETE, None),
        (status(0, 1), [True, False], None, S.EXECUTOR_ERROR, "exit"),
        (status(137), [False], None, S.EXECUTOR_ERROR, "exit"),
        (status(0), [False, False], None, S.SYSTEM_ERROR, "lost"),
        (status(143, reason=EndReason.TIMEOUT), [False], None, S.EXECUTOR_ERROR, "walltime"),
        (status(137, reason=EndReason.MEMORY), [False], None, S.EXECUTOR_ERROR, "memory"),
        (status(137, reason=EndReason.PROCESSES), [False], None, S.EXECUTOR_ERROR, "processes"),
        (status(137, reason=EndReason.DISK), [False], None, S.EXECUTOR_ERROR, "disk"),
        (status(137, reason=EndReason.CROWDED), [False], None, S.SYSTEM_ERROR, "disk"),
        (status(reason=EndReason.START_FAILED), [False], None, S.SYSTEM_ERROR, "start"),
        (status(reason=EndReason.CANCELED), [False], None, S.SYSTEM_ERROR, "canceled_at_site"),
        (status(reason=EndReason.CANCELED), [False], S.CANCELED, S.CANCELED, None),
        (status(reason=EndReason.CANCELED), [False], S.WITHDRAWN, S.WITHDRAWN, None),
        (status(0), [False], S.CANCELED, S.CANCELED, None),
        (status(0), [False], S.WITHDRAWN, S.COMPLETE, None),
        (LOST, [False], None, S.LOST, "lost"),
        (LOST, [False], S.CANCELED, S.CANCELED, None),
    ],
)
def test_each_end_has_its_verdict(
    job: JobStatus, ignore: list[bool], doom: S | None, state: S, code: str | None
) -> None:
    found = verdict(job, ignore, doom)
    assert (found.state, found.reason and found.reason.code) == (state, code)
    assert found.reason is None or found.reason.message


@pytest.mark.parametrize(
    ("job", "ignore", "state", "code"),
    [
        (status(143, reason=EndReason.TIMEOUT), [False], S.UNFINISHED, "walltime"),
        (status(0, reason=EndReason.TIMEOUT), [False], S.UNFINISHED, "walltime"),
        (status(75), [False, False], S.UNFINISHED, "go-on"),
        (status(75), [True], S.COMPLETE, None),
        (status(0), [False], S.COMPLETE, None),
        (status(75, reason=EndReason.CANCELED), [False], S.UNFINISHED, "go-on"),
        (status(143, reason=EndReason.CANCELED), [False], S.SYSTEM_ERROR, "canceled_at_site"),
        (status(75, reason=EndReason.MEMORY), [False], S.EXECUTOR_ERROR, "memory"),
        (status(1), [False], S.EXECUTOR_ERROR, "exit"),
        (status(75, reason=EndReason.FENCED), [False], S.EXECUTOR_ERROR, "volume"),
        (LOST, [False], S.LOST, "lost"),
    ],
)
def test_a_link_that_is_followed_may_leave_off(
    job: JobStatus, ignore: list[bool], state: AttemptState, code: str | None
) -> None:
    found = verdict(job, ignore, followed=True)
    assert (found.state, found.reason and found.reason.code) == (state, code)
    assert verdict(job, ignore, S.CANCELED, followed=True).state is S.CANCELED
    assert verdict(job, ignore).state is not S.UNFINISHED


def test_a_killed_command_is_said_to_be_killed() -> None:
    reason = verdict(status(137), [False]).reason
    assert reason is not None
    assert "signal 9" in reason.message


@given(
    st.lists(st.tuples(st.integers(0, 255), st.booleans()), min_size=1, max_size=4),
    st.sampled_from(list(EndReason)),
    st.sampled_from([None, S.CANCELED, S.WITHDRAWN]),
)
def test_every_end_is_final_and_only_good_ends_are_complete(
    commands: list[tuple[int, bool]], reason: EndReason, doom: S | None
) -> None:
    codes, ignore = [c for c, _ in commands], [i for _, i in commands]
    found = verdict(status(*codes, reason=reason), ignore, doom)
    assert found.state in FINAL
    if found.good:
        assert reason is EndReason.EXITED
        assert all(i or not c for c, i in commands)


def test_usage_and_commands_go_into_the_report() -> None:
    report = Report(attempt="a", seq=0, state=S.RUNNING)
    usage = Usage(wall=9.0, cpu=8.0, peak_memory=7, cores=6)
    note_status(report, status(3, usage=usage, host="node1"))
    assert (report.started, report.ended, report.host) == (1.0, 2.0, "node1")
    assert [c.exit_code for c in report.commands] == [3]
    assert report.usage is not None
    assert (report.usage.job, report.usage.cores, report.usage.cpu) == ("a", 6, 8.0)


def test_a_job_that_only_runs_has_no_end_in_the_report() -> None:
    report = Report(attempt="a", seq=0, state=S.PENDING)
    note_status(report, JobStatus("a", JobState.RUNNING, started=5.0, host="n"))
    assert (report.started, report.ended, report.commands) == (5.0, None, [])


@given(st.lists(st.text(alphabet="aé\U0001f33d", max_size=400), min_size=1, max_size=9))
def test_tails_are_cut_at_their_beginning_until_a_report_holds_them(
    texts: list[str],
) -> None:
    logs = [LogReport(command=n, stream="stdout", size=9, tail=t) for n, t in enumerate(texts)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(life, "MAX_TAILS", 1000)
        found = life.fitting(logs)
    assert sum(len(log.tail.encode()) for log in found) <= 1000
    assert all(text.endswith(log.tail) for text, log in zip(texts, found, strict=True))
