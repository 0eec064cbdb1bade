"""The verdict of a fault run finds what it is there to find."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from ayni.hub.store.models import File, Upload
from ayni.hub.tasks import ids
from ayni.hub.tasks.life import TaskState
from ayni.hub.tasks.models import Attempt, Task
from ayni.protocol.attempts import AttemptState as A
from tests.fault import verdict
from tests.fault.verdict import Evidence
from tests.hub import factories as make

WORD = b"word"


@pytest.fixture(autouse=True)
def _booked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bookings are another promise."""
    monkeypatch.setattr(Attempt, "usage", object(), raising=False)


@pytest.fixture
def task(db: None) -> Task:
    found = make.task(make.project(), TaskState.COMPLETE)
    Task.objects.filter(id=found.id).update(index=0)
    found.refresh_from_db()
    return found


def upload(of: Attempt, **fields: Any) -> Upload:
    fields = {"expires": None, "sha256": hashlib.sha256(WORD).hexdigest()} | fields
    return Upload.objects.create(
        id=f"upload{of.id}", project=of.task.project, path="out/0.txt", attempt=of, size=len(WORD),
        block_size=1 << 20, blocks=[], verified=True, **fields,
    )  # fmt: skip


def commit(one: Upload) -> None:
    File.objects.update_or_create(
        project=one.project, path=one.path,
        defaults={"upload": one, "size": one.size, "modified": "2026-01-01T00:00Z"},
    )  # fmt: skip


def tried(task: Task, *states: A) -> list[Attempt]:
    return [make.attempt(task, state=state) for state in states]


def broken(
    task: Task, payloads: list[Attempt] | None = None, supervisors: list[Attempt] | None = None
) -> list[str]:
    struck = [{ids.show(a.id) for a in attempts or ()} for attempts in (payloads, supervisors)]
    return verdict.promises([task], Evidence({0: WORD}, struck[0], struck[1], Path("/")))


def state(task: Task, state: TaskState) -> None:
    task.state = state.value
    task.save()


def test_a_task_that_ended_as_it_should_breaks_nothing(task: Task) -> None:
    lost, good = tried(task, A.LOST, A.COMPLETE)
    commit(upload(good))
    assert broken(task, supervisors=[lost]) == []


def test_a_killed_payload_that_was_tried_again_is_found(task: Task) -> None:
    struck, good = tried(task, A.EXECUTOR_ERROR, A.COMPLETE)
    commit(upload(good))
    assert "tried again after its payload was killed" in str(broken(task, payloads=[struck]))
    Attempt.objects.filter(id=struck.id).update(state=A.LOST.value)
    assert "is lost, not executor_error" in str(broken(task, payloads=[struck]))


def test_a_killed_payload_that_counts_as_done_is_found(task: Task) -> None:
    [good] = tried(task, A.COMPLETE)
    commit(upload(good))
    assert "is complete, not executor_error" in str(broken(task, payloads=[good]))


def test_a_killed_payload_ends_its_task(task: Task) -> None:
    [struck] = tried(task, A.EXECUTOR_ERROR)
    state(task, TaskState.EXECUTOR_ERROR)
    assert broken(task, payloads=[struck]) == []
    assert "payloads killed: []" in str(broken(task))


def test_an_attempt_whose_supervisor_was_killed_too_is_lost_and_tried_again(task: Task) -> None:
    struck, good = tried(task, A.LOST, A.COMPLETE)
    commit(upload(good))
    assert broken(task, payloads=[struck], supervisors=[struck]) == []
    Attempt.objects.filter(id=struck.id).update(state=A.SYSTEM_ERROR.value)
    assert "is system_error, not lost" in str(broken(task, [struck], [struck]))


def test_an_output_that_was_committed_twice_is_found(task: Task) -> None:
    lost, good = tried(task, A.LOST, A.COMPLETE)
    upload(lost, dead=True, expires="2030-01-01T00:00Z")  # as a commit buries what it replaces
    commit(upload(good))
    assert f"committed [{lost.id}, {good.id}]" in str(broken(task, supervisors=[lost]))


def test_an_upload_that_was_never_committed_is_no_commit(task: Task) -> None:
    lost, good = tried(task, A.LOST, A.COMPLETE)
    upload(lost, expires="2030-01-01T00:00Z")
    commit(upload(good))
    assert broken(task, supervisors=[lost]) == []


def test_an_output_of_an_attempt_that_was_not_accepted_is_found(task: Task) -> None:
    lost, _ = tried(task, A.LOST, A.COMPLETE)
    commit(upload(lost))
    told = str(broken(task, supervisors=[lost]))
    assert "the output is not of its accepted attempt" in told


def test_two_accepted_attempts_are_found(task: Task) -> None:
    first, _ = tried(task, A.COMPLETE, A.COMPLETE)
    commit(upload(first))
    assert "2 accepted attempts" in str(broken(task))
