"""How the end of a batch job reads for a researcher."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ayni.agent.executors.slurm import ends, parse
from tests.agent.executors.slurm import answers


def account(name: str, job: str) -> parse.Account:
    return parse.sacct(answers.sacct(name))[job]


@pytest.mark.parametrize(
    ("name", "job", "words"),
    [
        ("sacct-node-silent", "3000006", "the compute node failed"),
        ("sacct-preempted-cancel", "2000006", "work of higher priority"),
        ("sacct-cancelled", "1000019", "canceled at the site by user 995"),
        ("sacct-cancelled-by-root", "1000022", "canceled at the site by user 0"),
        ("sacct-timeout", "1000003", "time limit of the site"),
        ("sacct-failed-signal", "1000006", "was killed"),
        ("sacct-completed", "1000004", "without a word of it"),
    ],
)
def test_a_task_whose_batch_job_ended_is_lost_and_says_why(name, job, words):
    end = ends.of_account(account(name, job), alone=True)
    assert (end.state, end.reason) == ("lost", None)
    assert words in end.message
    assert f"(job {job} " in end.message


def test_out_of_memory_is_the_task_s_own_doing_only_if_it_was_alone():
    found = account("sacct-out-of-memory", "1000009")
    alone = ends.of_account(found, alone=True)
    assert (alone.state, alone.reason) == ("ended", "memory")
    assert "more memory than it asked for" in alone.message
    crowd = ends.of_account(found, alone=False)
    assert (crowd.state, crowd.reason) == ("lost", None)
    assert "ran out of memory" in crowd.message


def test_nobody_knows_is_said_so():
    end = ends.of_account(None, alone=True)
    assert end.state == "lost"
    assert "no longer knows" in end.message


@pytest.mark.parametrize("state", sorted(parse.OVER))
def test_every_end_has_words_of_its_own(state):
    found = account("sacct-completed", "1000004")
    end = ends.of_account(replace(found, state=state), alone=False)
    assert end.message.partition(" (job")[0] != "its batch job ended"


def exit_file(reason: str = "exited", code: int = 0, ended: float = 100.0, state: str = "ended"):
    return {
        "state": state,
        "reason": reason,
        "ended": ended,
        "results": [{"exit_code": code, "started": 1.0, "ended": ended}],
    }


@pytest.mark.parametrize(
    ("found", "signaled", "cut"),
    [
        (exit_file("canceled"), None, False),  # nobody ended the batch job
        (exit_file("canceled"), 90.0, True),
        (exit_file(code=143), 90.0, True),  # the task heard the signal before its supervisor
        (exit_file(code=137), 101.0, True),
        (exit_file(code=143), 120.0, False),  # long before
        (exit_file(code=0), 90.0, False),  # it ended well all the same
        (exit_file("canceled", code=75), 90.0, False),  # it has saved, and asks to go on
        (exit_file(code=3), 90.0, False),
        (exit_file("timeout", code=143), 90.0, False),
        (exit_file("memory", code=137), 90.0, False),
        (exit_file("canceled", state="lost"), 90.0, False),
        ({**exit_file(), "results": []}, 90.0, False),
    ],
)
def test_an_end_is_the_scheduler_s_only_if_its_signal_made_it(found, signaled, cut):
    assert ends.is_cut_short(found, signaled) is cut


def reasons(name: str) -> list[str]:
    rows = (line.split("|") for line in answers.text(name).splitlines())
    return [row[5] for row in rows if row[4] == "PENDING"]


@pytest.mark.parametrize("name", ["squeue-never-starts", "squeue-dependency-never-satisfied"])
def test_what_never_starts_is_known_by_its_reason(name):
    assert reasons(name)
    assert all(map(ends.is_for_ever, reasons(name)))


@pytest.mark.parametrize(
    "name",
    [
        "squeue-array-under-way",
        "squeue-gpu",
        "squeue-held",
        "squeue-node-down",
        "squeue-preempted-requeue",
        "squeue-requeue-hold",
        "squeue-reservation",
        "squeue-waits-for-unavailable-node",
    ],
)
def test_what_waits_for_its_turn_is_left_waiting(name):
    assert reasons(name)
    assert not any(map(ends.is_for_ever, reasons(name)))


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("Invalid account or account/partition combination specified", "account is not allowed"),
        ("Invalid qos specification", "quality of service"),
        ("Invalid partition name specified", "no such partition"),
        ("QOSMaxWallDurationPerJobLimit", "limits allow one job"),
        ("Requested node configuration is not available", "no node of the partition"),
        ("Requested time limit is invalid (missing or exceeds some limit)", "more time"),
        ("something new", "scheduler refused it: something new"),
    ],
)
def test_a_refusal_is_in_plain_words_and_keeps_slurm_s_own(said, words):
    found = ends.refusal(said)
    assert words in found
    assert said in found
