"""The decisions of the agent, event by event, without a clock, a disk or a hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ayni.agent import config
from ayni.agent.executors.base import CommandResult, EndReason, JobState, JobStatus
from ayni.agent.life import OVER_QUOTA
from ayni.agent.staging.errors import StagingError, broken_promise
from ayni.agent.staging.finish import Finished
from ayni.agent.staging.inputs import Prepared
from ayni.agent.volumes import InUse
from ayni.agent.work import TRIES, Work
from ayni.protocol.attempts import AttemptState
from ayni.protocol.messages import LogReport, OutputReport
from ayni.protocol.policy import Reason
from tests.agent.assignments import assignment

S = AttemptState
PASSING = StagingError("hub", "the hub cannot be reached", retryable=True)


@pytest.fixture
def work() -> Work:
    return Work(config.parse('hub = "http://hub"', Path("/etc/ayni/agent.toml")))


def at(work: Work, name: str, state: AttemptState, **task: Any) -> None:
    """Bring a new attempt to a state."""
    work.accept(assignment(name, **task), 1.0, None)
    if state is S.ACCEPTED:
        return
    work.staging(work.take_acts().stage, 2.0)
    if state is S.INITIALIZING:
        return
    work.staged(name, Prepared(name, Path("/work") / name), 3.0)
    work.submitted(work.take_acts().submit, {}, 4.0)
    if state is S.RUNNING:
        work.job(JobStatus(name, JobState.RUNNING, started=5.0), 5.0)
    if state is S.FINALIZING:
        work.job(exited(name), 6.0)


def exited(name: str, code: int = 0, reason: EndReason = EndReason.EXITED) -> JobStatus:
    results = (CommandResult(code, 5.0, 6.0),)
    return JobStatus(name, JobState.ENDED, 5.0, 6.0, results, reason)


def told(work: Work, name: str) -> AttemptState:
    return work.told[name].report.state


def test_an_ordinary_life(work: Work) -> None:
    at(work, "a", S.ACCEPTED)
    assert told(work, "a") is S.ACCEPTED
    acts = work.take_acts()
    assert [e.id for e in acts.stage] == ["a"]
    work.told.clear()
    work.staging(acts.stage, 2.0)
    work.staged("a", Prepared("a", Path("/w/a")), 3.0)
    assert list(work.take_acts().submit) == ["a"]
    work.submitted(["a"], {}, 4.0)
    work.job(JobStatus("a", JobState.RUNNING, started=5.0), 5.0)
    assert work.told == {}, "steps that pass quickly are not told"
    work.job(exited("a"), 6.0)
    [entry] = work.take_acts().deliver
    work.delivering([entry])
    output = OutputReport(url="ayni://p/x", path="/x", size=1, sha256="", upload="u")
    log = LogReport(command=0, stream="stdout", size=2, tail="hi")
    work.delivered("a", Finished("a", outputs=[output], logs=[log]), 7.0)
    report = work.told["a"].report
    assert (report.state, report.outputs, report.logs) == (S.COMPLETE, [output], [log])
    acts = work.take_acts()
    assert (acts.forget, acts.discard, work.entries) == ({"a"}, {"a": False}, {})


def test_a_step_that_lasts_is_told(work: Work) -> None:
    at(work, "a", S.RUNNING)
    work.told.clear()
    work.tell_what_lasts(2.1)
    assert work.told == {}
    work.tell_what_lasts(9.0)
    assert told(work, "a") is S.RUNNING


@pytest.mark.parametrize("state", [S.ACCEPTED, S.INITIALIZING])
def test_what_has_not_been_submitted_is_cancelled_at_once(work: Work, state: S) -> None:
    at(work, "a", state)
    work.cancel("a", 9.0)
    assert told(work, "a") is S.CANCELED
    assert work.take_acts().stage == []


def test_a_folder_goes_only_when_its_thread_has_left_it(work: Work) -> None:
    at(work, "a", S.INITIALIZING)
    work.cancel("a", 9.0)
    acts = work.take_acts()
    assert (acts.stop, acts.discard) == ({"a"}, {})
    work.staged("a", Prepared("a", Path("/w/a")), 10.0)
    acts = work.take_acts()
    assert (acts.discard, acts.submit) == ({"a": False}, {})


@pytest.mark.parametrize("state", [S.PENDING, S.RUNNING])
def test_a_submitted_job_dies_before_its_attempt_is_called_cancelled(work: Work, state: S) -> None:
    at(work, "a", state)
    work.cancel("a", 9.0)
    assert work.noted["a"].doom is S.CANCELED
    assert work.take_acts().cancel == {"a"}
    work.cancel("a", 10.0)
    assert work.take_acts().cancel == set(), "the hub repeats itself; once is enough for now"
    work.cancel("a", 20.0)
    assert work.take_acts().cancel == {"a"}
    work.job(exited("a", 143, EndReason.CANCELED), 21.0)
    work.delivering(work.take_acts().deliver)
    work.delivered("a", Finished("a"), 22.0)
    assert told(work, "a") is S.CANCELED


def test_a_cancel_while_outputs_are_sent_stops_the_sending(work: Work) -> None:
    at(work, "a", S.FINALIZING)
    work.delivering(work.take_acts().deliver)
    work.cancel("a", 9.0)
    assert work.take_acts().stop == {"a"}
    work.delivered("a", Finished("a", error=PASSING), 10.0)
    assert told(work, "a") is S.CANCELED


def test_a_muted_attempt_says_nothing(work: Work) -> None:
    at(work, "a", S.RUNNING)
    work.cancel("a", 9.0, mute=True)
    work.job(exited("a", 143, EndReason.CANCELED), 10.0)
    assert work.take_acts().deliver == []
    assert told(work, "a") is S.CANCELED


@pytest.mark.parametrize(
    ("state", "given_back"),
    [(S.ACCEPTED, True), (S.INITIALIZING, True), (S.RUNNING, False), (S.FINALIZING, False)],
)
def test_only_what_has_not_run_is_given_back(work: Work, state: S, given_back: bool) -> None:
    at(work, "a", state)
    work.withdraw("a", 9.0)
    assert (told(work, "a") is S.WITHDRAWN) is given_back
    assert work.take_acts().cancel == set()


def test_a_queued_job_is_given_back_when_it_is_dead(work: Work) -> None:
    at(work, "a", S.PENDING)
    work.withdraw("a", 9.0)
    assert work.take_acts().cancel == {"a"}
    work.job(JobStatus("a", JobState.ENDED, reason=EndReason.CANCELED), 10.0)
    assert told(work, "a") is S.WITHDRAWN


def test_a_job_that_ended_well_before_it_could_be_given_back_counts(work: Work) -> None:
    at(work, "a", S.PENDING)
    work.withdraw("a", 9.0)
    work.job(exited("a"), 10.0)
    work.delivering(work.take_acts().deliver)
    work.delivered("a", Finished("a"), 11.0)
    assert told(work, "a") is S.COMPLETE


def test_orders_about_what_is_not_here_are_passed_over(work: Work) -> None:
    for order in (work.cancel, work.withdraw):
        order("nobody", 1.0)
    assert work.told == {} and work.noted == {}


def test_an_input_that_cannot_be_had_ends_the_attempt_with_the_reason(work: Work) -> None:
    at(work, "a", S.INITIALIZING)
    work.staged("a", StagingError("input", "inputs[0]: is not there"), 3.0)
    report = work.told["a"].report
    assert report.state is S.SYSTEM_ERROR
    assert report.reason is not None
    assert report.reason.parameters["retryable"] is False


def test_a_passing_failure_is_tried_again_with_growing_pauses_and_not_for_ever(work: Work) -> None:
    at(work, "a", S.INITIALIZING)
    now, pauses = 10.0, []
    for _ in range(TRIES - 1):
        work.staged("a", PASSING, now)
        pauses.append(work.again["a"] - now)
        work.due(now)
        assert work.take_acts().stage == [], "not yet"
        now = work.again["a"]
        work.due(now)
        work.staging(work.take_acts().stage, now)
    assert pauses == sorted(pauses)
    work.staged("a", PASSING, now)
    assert told(work, "a") is S.SYSTEM_ERROR


def test_while_the_hub_is_away_tries_do_not_run_out(work: Work) -> None:
    at(work, "a", S.FINALIZING)
    work.delivering(work.take_acts().deliver)
    for now in range(0, 100_000, 1000):
        work.delivered("a", Finished("a", error=PASSING), float(now))
        work.due(now + 999.0, count=False)
        assert "a" in work.entries
        work.delivering(work.take_acts().deliver)
    work.delivered("a", Finished("a"), 1e6)
    assert told(work, "a") is S.COMPLETE


def test_an_output_that_was_not_made_is_the_tasks_own_fault(work: Work) -> None:
    at(work, "a", S.FINALIZING)
    work.delivering(work.take_acts().deliver)
    error = broken_promise("output", "the commands did not make '/x'")
    work.delivered("a", Finished("a", error=error), 9.0)
    assert told(work, "a") is S.EXECUTOR_ERROR
    assert work.told["a"].report.outputs == []
    assert work.take_acts().discard == {"a": True}, "kept for the operator"


def test_what_the_executor_refuses_is_told_and_not_tried_again(work: Work) -> None:
    at(work, "a", S.INITIALIZING)
    work.staged("a", Prepared("a", Path("/w/a")), 3.0)
    work.submitted(work.take_acts().submit, {"a": "workdir 'x' must be absolute"}, 4.0)
    report = work.told["a"].report
    assert report.state is S.SYSTEM_ERROR
    assert report.reason is not None and "workdir" in report.reason.message
    assert report.reason.parameters["retryable"] is False


def test_a_lost_job_is_told_as_lost(work: Work) -> None:
    at(work, "a", S.RUNNING)
    work.job(JobStatus("a", JobState.LOST), 9.0)
    [entry] = work.take_acts().deliver
    assert work.ending(entry, Path("/w/a")).succeeded is False
    work.delivering([entry])
    work.delivered("a", Finished("a"), 10.0)
    assert told(work, "a") is S.LOST


@pytest.mark.parametrize("gone", [False, True])
def test_of_a_lost_job_nobody_is_sure_unless_its_processes_were_seen_gone(
    work: Work, gone: bool
) -> None:
    at(work, "a", S.RUNNING)
    work.job(JobStatus("a", JobState.LOST, gone=gone), 9.0)
    [entry] = work.take_acts().deliver
    work.delivering([entry])
    work.delivered("a", Finished("a"), 10.0)
    assert ("a" in work.take_acts().unsure) is not gone


def test_a_job_that_is_over_and_told_again_is_forgotten(work: Work) -> None:
    work.job(exited("old"), 1.0)
    assert work.take_acts().forget == {"old"}


def test_a_task_that_cannot_be_understood_is_refused(work: Work) -> None:
    bad = assignment("a")
    bad.task["executors"] = [{"image": "host", "command": []}]
    work.accept(bad, 1.0, None)
    assert told(work, "a") is S.REFUSED


def test_memory_does_not_grow_with_what_is_over(work: Work) -> None:
    for number in range(50):
        name = f"a{number}"
        at(work, name, S.FINALIZING)
        work.delivering(work.take_acts().deliver)
        work.delivered(name, Finished(name, error=broken_promise("x", "y")), 9.0)
        work.take_acts()
        work.told.clear()
        work.noted.clear()
    kept = {name: getattr(work, name) for name in work.__dataclass_fields__}
    sizes = {k: len(v) for k, v in kept.items() if isinstance(v, (dict, set, list, tuple))}
    assert not any(sizes.values()), sizes


def test_outputs_whose_names_no_report_can_hold_are_the_tasks_own_fault(work: Work) -> None:
    at(work, "a", S.FINALIZING)
    work.delivering(work.take_acts().deliver)
    long = "/" + "x" * 1000
    outputs = [
        OutputReport(url=f"ayni://p{long}{n}", path=f"{long}{n}", size=0, sha256="")
        for n in range(4000)
    ]
    work.delivered("a", Finished("a", outputs=outputs), 9.0)
    report = work.told["a"].report
    assert report.state is S.EXECUTOR_ERROR
    assert report.outputs == []
    assert report.reason is not None and "archives" in report.reason.message


def test_an_attempt_waits_for_its_volume_for_as_long_as_it_takes_and_says_so_once(
    work: Work,
) -> None:
    at(work, "a", S.INITIALIZING)
    for turn in range(5 * TRIES):
        work.staged("a", InUse("waits for volume state", 2.0), 10.0 * turn)
        work.due(10.0 * turn + 1.0)
        assert work.take_acts().stage == [], "it is asked for again too soon"
        work.due(10.0 * turn + 2.0)
        work.staging(work.take_acts().stage, 10.0 * turn + 3.0)
    assert work.entries["a"].state is S.INITIALIZING
    assert work.entries["a"].report.system_log == ["waits for volume state"]
    work.staged("a", Prepared("a", Path("/w/a")), 1000.0)
    assert list(work.take_acts().submit) == ["a"]


def test_what_its_operator_has_refused_is_refused_at_the_door(work: Work) -> None:
    no = Reason(code="charter", message="this site's operator refused the charter of channel up")
    work.refuses = lambda given: no if given.attempt == "a" else None
    for name in ("a", "b"):
        work.accept(assignment(name), 1.0, None)
    assert told(work, "a") is S.REFUSED and work.told["a"].report.reason == no
    assert told(work, "b") is S.ACCEPTED


def test_one_that_waits_for_its_volume_is_given_back_at_once(work: Work) -> None:
    at(work, "a", S.INITIALIZING)
    work.staged("a", InUse("waits for volume state"), 1.0)
    work.withdraw("a", 2.0)
    assert told(work, "a") is S.WITHDRAWN


def test_of_a_job_that_nobody_saw_end_it_is_not_sure_that_it_writes_no_more(work: Work) -> None:
    for name, end in (("a", exited("a")), ("b", JobStatus("b", JobState.LOST))):
        at(work, name, S.RUNNING)
        work.job(end, 6.0)
        work.delivering(work.take_acts().deliver)
        work.delivered(name, Finished(name), 7.0)
        acts = work.take_acts()
        assert (name in acts.unsure, name in acts.discard) == (name == "b", True)


@pytest.mark.parametrize("link", [1, 2])
def test_the_last_link_of_a_chain_is_not_followed(work: Work, link: int) -> None:
    at(work, "a", S.RUNNING)
    entry = work.entries["a"]
    entry.assignment.shape["chain"] = 2
    entry.assignment.link = link
    work.job(exited("a", 75), 6.0)
    work.delivering(work.take_acts().deliver)
    assert work.ending(entry, Path("/w/a")).final is (link == 2)
    work.delivered("a", Finished("a"), 7.0)
    assert told(work, "a") is (S.UNFINISHED if link == 1 else S.EXECUTOR_ERROR)


@pytest.mark.parametrize("end", [False, True])
def test_who_writes_beyond_the_quota_is_told_or_ended(work: Work, end: bool) -> None:
    at(work, "a", S.RUNNING)
    for now in (6.0, 7.0):
        work.over_quota("a", now, end=end)
    acts = work.take_acts()
    assert acts.cancel == ({"a"} if end else set())
    work.job(exited("a", 143 if end else 0, EndReason.CANCELED if end else EndReason.EXITED), 8.0)
    work.delivering(work.take_acts().deliver)
    work.delivered("a", Finished("a"), 9.0)
    report = work.told["a"].report
    assert report.system_log == [OVER_QUOTA]
    assert report.state is (S.EXECUTOR_ERROR if end else S.COMPLETE)
    assert report.reason is None or report.reason.code == "quota"
