"""Why a task is where it is, and what it printed."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from ayni.hub.catalogue.models import Release
from ayni.hub.store.paths import log_path
from ayni.hub.tasks import ids
from ayni.hub.tasks.life import TaskState
from ayni.hub.tasks.models import Placement
from ayni.protocol.attempts import AttemptState
from ayni.protocol.messages import AllocationReport, LogReport, Report, UsageReport
from ayni.protocol.policy import Reason

from . import factories as make
from .conftest import API


def why(api, task):
    answer = api.get(f"{API}/tasks/{ids.show(task.pk)}/why")
    assert answer.status_code == 200, answer.content
    return answer.json()


def log(api, task, **asked):
    answer = api.get(f"{API}/tasks/{ids.show(task.pk)}/logs", asked)
    assert answer.status_code == 200, answer.content
    return answer.json()


def report(state=AttemptState.RUNNING, text="hola\n", size=None, **fields):
    entry = LogReport(command=0, stream="stdout", size=size or len(text), tail=text)
    return Report(attempt="x", seq=1, state=state, logs=[entry], **fields)


# --- why --------------------------------------------------------------------------------------


def test_every_site_has_a_line_of_its_own(api):
    names = sorted(make.site().name for _ in range(3))
    told = why(api, make.task(api.project))
    assert [s["site"] for s in told["sites"]] == names
    assert all(s["message"] for s in told["sites"])
    assert told["summary"]


def test_without_any_site_it_says_so(api):
    assert "no site" in why(api, make.task(api.project))["summary"]


def test_who_waits_for_others_is_told_for_which(api):
    first = make.task(api.project)
    body = {
        "task": {"executors": [{"image": "host", "command": ["true"]}]},
        "after": [{"id": ids.show(first.pk), "when": "ended"}],
    }
    made = api.post(f"{API}/tasks", body).json()["id"]
    told = api.get(f"{API}/tasks/{made}/why").json()
    assert ids.show(first.pk) in told["summary"]
    assert told["after"] == [{"id": ids.show(first.pk), "when": "ended", "settled": False}]


def placed(task, site, message, later=0, mark=""):
    """A decision of the broker for the task's group, `later` by so many seconds."""
    Placement.objects.create(
        group=task.group, site=site, partition="main", first=timezone.now(),
        last=timezone.now() + timedelta(seconds=later), count=1, fingerprint=mark or site.name,
        reasons=[{"site": site.name, "verdict": "chosen", "code": "chosen", "message": message}],
    )  # fmt: skip


def test_of_a_task_at_a_site_the_reasons_of_its_placing_are_told(api):
    here, there = make.site(name="aqui"), make.site(name="otro")
    task = make.task(api.project, TaskState.RUNNING)
    make.attempt(task, here)
    placed(task, here, "was given 1 task")
    placed(task, there, "later", 60)
    told = why(api, task)
    assert told["summary"] == "runs at aqui, partition local"
    assert {s["site"]: s["verdict"] for s in told["sites"]} == {
        "aqui": "chosen",
        "otro": "ineligible",
    }
    assert [p["site"] for p in told["placements"]] == ["otro", "aqui"]


def test_the_reasons_are_told_however_many_decisions_came_after(api):
    here, there = make.site(name="aqui"), make.site(name="otro")
    task = make.task(api.project, TaskState.RUNNING)
    make.attempt(task, here)
    placed(task, here, "was given 1 task")
    for n in range(40):
        placed(task, there, "later", 60 + n, mark=str(n))
    told = {s["site"]: (s["start_in"], s["by"]) for s in why(api, task)["sites"]}
    assert told["aqui"] == (None, None), "an older hub's decision says nothing of a start"
    assert {s["site"]: s["message"] for s in why(api, task)["sites"]}["aqui"] == "was given 1 task"


def test_a_refusal_reaches_the_user(api):
    task = make.task(api.project)
    said = Reason(code="walltime", message="takes nothing longer than 1 h")
    refused = report(AttemptState.REFUSED, reason=said)
    make.attempt(task, make.site(name="aqui"), AttemptState.REFUSED, refused)
    assert "takes nothing longer than 1 h" in why(api, task)["summary"]


@pytest.mark.parametrize("state", list(TaskState))
def test_there_is_a_sentence_for_every_state(api, state):
    task = make.task(api.project, state)
    if state not in (TaskState.WAITING, TaskState.QUEUED):
        make.attempt(task)
    assert why(api, task)["summary"]


# --- logs -------------------------------------------------------------------------------------


def test_the_tail_is_told_with_where_it_begins(api):
    task = make.task(api.project, TaskState.RUNNING)
    make.attempt(task, report=report(text="ñandú\n", size=1000))
    told = log(api, task)
    assert told["text"] == "ñandú\n"
    assert (told["offset"], told["size"]) == (1000 - 8, 1000)
    assert (told["ended"], told["full"], told["withheld"]) == (False, None, None)


def test_at_the_end_the_whole_log_is_among_the_projects_files(api):
    task = make.task(api.project, TaskState.COMPLETE)
    make.attempt(task, state=AttemptState.COMPLETE, report=report(AttemptState.COMPLETE))
    path = log_path(ids.show(task.pk), 0, "stdout")
    make.file(api.project, path)
    told = log(api, task)
    assert told["ended"]
    assert told["full"] == f"ayni://{api.project.name}/{path}"


def test_a_log_that_is_not_there_is_empty(api):
    task = make.task(api.project)
    assert log(api, task) == {
        "text": "", "offset": 0, "size": 0, "ended": False, "full": None, "withheld": None,
    }  # fmt: skip
    assert api.get(f"{API}/tasks/{ids.show(task.pk)}/logs", {"attempt": 3}).status_code == 404


def test_an_earlier_attempts_log_can_be_read(api):
    task = make.task(api.project, TaskState.RUNNING)
    make.attempt(task, state=AttemptState.LOST, superseded=True, report=report(text="uno"))
    make.attempt(task, report=report(text="dos"))
    assert log(api, task)["text"] == "dos"
    first = log(api, task, attempt=1)
    assert (first["text"], first["ended"]) == ("uno", True)


def test_watching_asks_the_site_to_send_what_comes(api):
    task = make.task(api.project, TaskState.RUNNING)
    make.attempt(task, report=report())
    log(api, task)
    task.refresh_from_db()
    assert task.watched_until is None
    log(api, task, watch="true")
    task.refresh_from_db()
    assert task.watched_until > timezone.now() + timedelta(seconds=50)


@pytest.mark.parametrize(
    ("release", "state", "withheld"),
    [
        (Release.NOTHING, TaskState.COMPLETE, True),
        (Release.AGGREGATE, TaskState.RUNNING, True),
        (Release.AGGREGATE, TaskState.COMPLETE, False),
        (Release.ANYTHING, TaskState.RUNNING, False),
    ],
)
def test_what_a_data_set_does_not_release_is_said_to_be_withheld(api, release, state, withheld):
    held = make.dataset(name="censo", release=release)
    url = f"ayni://{held.site.name}/censo/a"
    task = make.task(api.project, state, inputs=[{"path": "/a", "url": url}])
    ended = AttemptState.RUNNING if state is TaskState.RUNNING else AttemptState.COMPLETE
    make.attempt(task, held.site, ended)
    told = log(api, task)["withheld"]
    assert (told is not None) is withheld
    if told:
        assert "censo" in told["message"]


# --- usage ------------------------------------------------------------------------------------


def test_a_task_shows_what_the_accounting_says_it_was_given(api):
    given = AllocationReport(job="7_1", core_seconds=33.0, node_seconds=16.5, energy=9000.0)
    used = UsageReport(job="7", cores=2, wall=16.0, cpu=5.0, peak_memory=7)
    task = make.task(api.project)
    for told in (used, used.model_copy(update={"allocation": given})):
        saved = report(AttemptState.COMPLETE, usage=told)
        make.attempt(task, make.site(), AttemptState.COMPLETE, report=saved)
    first, second = api.get(f"{API}/tasks/{ids.show(task.pk)}").json()["attempts"]
    assert first["usage"].get("allocation") is None
    assert second["usage"]["allocation"] == {
        "job": "7_1", "submitted": None,
        "core_seconds": 33.0, "node_seconds": 16.5, "gpu_seconds": 0.0, "memory_seconds": 0.0,
        "energy": 9000.0,
    }  # fmt: skip
