"""Showing tasks over TES: the three views, and that a page costs a handful of queries."""

from __future__ import annotations

import time

import pytest

from ayni.hub.tasks import ids
from ayni.hub.tasks.life import SHOWN, TaskState
from ayni.protocol.attempts import AttemptState
from ayni.protocol.messages import CommandReport, LogReport, OutputReport, Report
from ayni.protocol.policy import Reason
from ayni.tes import models as tes

from . import factories as make
from .conftest import API, TES

DOCUMENT = {
    "name": "count",
    "description": "counts words",
    "inputs": [{"path": "/in/a", "content": "uno dos"}],
    "executors": [{"image": "host", "command": ["wc"]}, {"image": "host", "command": ["false"]}],
    "tags": {"kind": "test"},
}
BEGAN = 1_750_000_000.5


def report(state=AttemptState.COMPLETE, **fields):
    return Report(
        attempt="x",
        seq=1,
        state=state,
        host="nodo1",
        commands=[CommandReport(exit_code=n, started=BEGAN, ended=BEGAN + 1) for n in (0, 1)],
        logs=[LogReport(command=0, stream="stdout", size=2, tail="2\n")],
        outputs=[OutputReport(url="ayni://p/o", path="/out", size=5, sha256="0" * 64)],
        system_log=["fetched 1 input"],
        **fields,
    )


@pytest.fixture
def done(api):
    task = make.task(api.project, TaskState.COMPLETE, **DOCUMENT)
    make.attempt(task, state=AttemptState.LOST, superseded=True)
    make.attempt(task, make.site(name="leftraru"), AttemptState.COMPLETE, report())
    return task


def show(api, task, view=None):
    answer = api.get(f"{TES}/tasks/{ids.show(task.pk)}", {"view": view} if view else None)
    assert answer.status_code == 200, answer.content
    return answer.json()


def test_the_minimal_view_is_id_and_state(api, done):
    expected = {"id": ids.show(done.pk), "state": "COMPLETE"}
    assert show(api, done) == show(api, done, "MINIMAL") == expected


def test_the_full_view_has_what_was_submitted_and_a_log_for_each_attempt(api, done):
    shown = show(api, done, "FULL")
    assert {k: shown[k] for k in DOCUMENT if k != "inputs"} == {
        k: v for k, v in DOCUMENT.items() if k != "inputs"
    }
    assert shown["inputs"] == [{**DOCUMENT["inputs"][0], "type": "FILE"}]
    assert len(shown["logs"]) == 2
    log = shown["logs"][1]
    assert log["logs"][0] == {
        "start_time": "2025-06-15T15:06:40.500Z",
        "end_time": "2025-06-15T15:06:41.500Z",
        "exit_code": 0,
        "stdout": "2\n",
    }
    assert log["outputs"] == [{"url": "ayni://p/o", "path": "/out", "size_bytes": "5"}]
    assert log["metadata"]["site"] == "leftraru"
    assert log["metadata"]["host"] == "nodo1"
    assert log["system_logs"] == ["fetched 1 input"]


def test_the_basic_view_leaves_out_content_and_what_was_printed(api, done):
    shown = show(api, done, "BASIC")
    assert "content" not in shown["inputs"][0]
    log = shown["logs"][1]
    assert "system_logs" not in log
    assert all({"stdout", "stderr"}.isdisjoint(one) for one in log["logs"])
    assert log["logs"][1]["exit_code"] == 1
    assert shown["creation_time"].endswith("Z")


def test_no_view_has_unset_fields_and_the_full_one_can_be_sent_again(api, done):
    for view in tes.View:
        shown = show(api, done, view.value)
        if view is tes.View.FULL:
            tes.Task.model_validate(shown)
        assert None not in shown.values()


def test_what_the_system_did_wrong_is_in_the_system_logs(api):
    task = make.task(api.project, TaskState.SYSTEM_ERROR)
    task.reason = Reason(code="hopeless", message="no site has this image").model_dump()
    task.save()
    assert show(api, task, "FULL")["logs"][0]["system_logs"] == ["no site has this image"]


def test_the_outputs_of_an_attempt_that_did_not_count_are_not_the_tasks(api):
    task = make.task(api.project, TaskState.EXECUTOR_ERROR)
    make.attempt(
        task, state=AttemptState.EXECUTOR_ERROR, report=report(AttemptState.EXECUTOR_ERROR)
    )
    assert show(api, task, "FULL")["logs"][0]["outputs"] == []


@pytest.mark.parametrize("state", list(TaskState))
def test_every_state_is_shown_by_a_name_that_old_clients_know(api, state):
    shown = show(api, make.task(api.project, state))["state"]
    assert shown == SHOWN[state].value
    assert shown not in ("PAUSED", "PREEMPTED", "CANCELING", "UNKNOWN")


def test_an_unknown_view_is_a_400(api, done):
    assert api.get(f"{TES}/tasks/{ids.show(done.pk)}", {"view": "full"}).status_code == 400


@pytest.mark.parametrize("wrong", ["x", "0000000000000", "ü", "%00", "..", "0" * 500])
def test_an_unknown_task_is_a_404(api, wrong):
    assert api.get(f"{TES}/tasks/{wrong}").status_code == 404
    assert api.post(f"{TES}/tasks/{wrong}:cancel").status_code == 404


def test_a_page_costs_a_handful_of_queries(api, django_assert_max_num_queries):
    site = make.site()
    for _ in range(20):
        make.attempt(make.task(api.project, TaskState.RUNNING, **DOCUMENT), site, report=report())
    api.post(f"{API}/arrays", {"task": DOCUMENT, "count": 20})
    for path, parameters in (
        (f"{TES}/tasks", {"view": "FULL"}),
        (f"{TES}/tasks", {"view": "BASIC", "state": "QUEUED"}),
        (f"{API}/tasks", {}),
    ):
        with django_assert_max_num_queries(8):
            assert api.get(path, parameters).json()["tasks"]


def test_cancelling_shows_canceled_at_once_and_twice_is_no_error(api):
    task = make.task(api.project, TaskState.RUNNING)
    attempt = make.attempt(task)
    for _ in range(2):
        answer = api.post(f"{TES}/tasks/{ids.show(task.pk)}:cancel")
        assert (answer.status_code, answer.json()) == (200, {})
        assert show(api, task)["state"] == "CANCELED"
    attempt.refresh_from_db()
    assert (attempt.cancel, attempt.live, attempt.superseded) == (True, True, False)


def test_cancelling_what_has_ended_changes_nothing(api, done):
    assert api.post(f"{TES}/tasks/{ids.show(done.pk)}:cancel").status_code == 200
    assert show(api, done)["state"] == "COMPLETE"


def test_service_info_is_open_and_says_which_parameters_there_are(client):
    info = client.get(f"{TES}/service-info").json()
    assert info["type"] == {"group": "org.ga4gh", "artifact": "tes", "version": "1.1.0"}
    assert {"id", "name", "organization", "version", "storage"} <= info.keys()
    assert "walltime" in info["tesResources_backend_parameters"]


def test_tes_is_on_one_path_only(api):
    for path in ("/v1/tasks", "/tasks", "/ga4gh/tes/tasks", f"{TES}/tasks/", "/ga4gh/tes/v1"):
        assert api.get(path).status_code == 404, path
        assert api.post(path, DOCUMENT).status_code in (404, 403, 405), path


@pytest.mark.parametrize(
    ("path", "allow"),
    [
        ("/tasks", "GET, HEAD, OPTIONS, POST"),
        ("/tasks/x", "GET, HEAD, OPTIONS"),
        ("/tasks/x:cancel", "OPTIONS, POST"),
        ("/service-info", "GET, HEAD, OPTIONS"),
    ],
)
def test_methods(client, path, allow):
    refused = client.delete(TES + path)
    assert (refused.status_code, refused["Allow"]) == (405, allow)
    assert client.options(TES + path)["Allow"] == allow


def test_long_polls_answer_at_once_when_there_is_news(api):
    task = make.task(api.project, TaskState.RUNNING)
    begin = time.monotonic()
    shown = api.get(f"{API}/tasks/{ids.show(task.pk)}", {"wait": 25, "seen": "QUEUED"}).json()
    assert shown["state"] == "RUNNING"
    assert time.monotonic() - begin < 20
    quick = api.get(f"{API}/tasks/{ids.show(task.pk)}", {"wait": 0.2, "seen": "RUNNING"}).json()
    assert quick["state"] == "RUNNING"
