"""Arrays: many tasks of one shape, made, shown, cancelled and run again as one."""

from __future__ import annotations

import pytest

from ayni.hub.catalogue.models import Release
from ayni.hub.tasks import ids, prepare
from ayni.hub.tasks.ending import tasks_ended
from ayni.hub.tasks.life import TaskState
from ayni.hub.tasks.models import Array, Group, Task, TaskTag
from ayni.hub.tasks.rerun import rerun_failed

from . import factories as make
from .conftest import API, TES

TEMPLATE = {
    "name": "profile {{lang}}",
    "tags": {"language": "{{lang}}", "kind": "profile"},
    "executors": [{"image": "host", "command": ["count", "{{lang}}", "{{index}}"]}],
}
LANGUAGES = [{"lang": "quy"}, {"lang": "ayr"}, {"lang": "arn"}]


def new(api, expected=201, **fields):
    fields.setdefault("task", TEMPLATE)
    if "count" not in fields:
        fields.setdefault("parameters", LANGUAGES)
    answer = api.post(f"{API}/arrays", fields)
    assert answer.status_code == expected, answer.content
    return answer.json()


def end(array_id, states):
    tasks = Task.objects.filter(array=ids.read(array_id)).order_by("id")
    for task, state in zip(tasks, states, strict=True):
        Task.objects.filter(pk=task.pk).update(state=state.value)
    tasks_ended([t.pk for t in tasks])


def test_an_array_for_one_site_with_data_of_another_names_the_task(api):
    here, there = (make.dataset(make.site()) for _ in range(2))
    template = {
        **TEMPLATE,
        "inputs": [{"path": "/in", "url": "ayni://{{lang}}/x"}],
        "resources": {"backend_parameters": {"site": here.site.name}},
    }
    values = [{"lang": f"{one.site.name}/{one.name}"} for one in (here, there)]
    told = new(api, 400, task=template, parameters=values)
    assert told["errors"][0]["field"] == "task 1: resources.backend_parameters.site"
    assert f"inputs read data that stays at {there.site.name}" in told["detail"]


def test_an_array_that_reads_what_lets_nothing_leave_names_the_task_with_outputs(api):
    site = make.site()
    for name, release in (("open", Release.ANYTHING), ("closed", Release.NOTHING)):
        make.dataset(site, name=name, release=release)
    reads = [{"path": "/in", "url": f"ayni://{site.name}/{{{{lang}}}}/x"}]
    writes = [{"path": "/out", "url": f"ayni://{api.project.name}/{{{{index}}}}"}]
    values = [{"lang": "open"}, {"lang": "closed"}]
    told = new(api, 400, task={**TEMPLATE, "inputs": reads, "outputs": writes}, parameters=values)
    assert told["errors"][0]["field"] == "task 1: outputs[0].url"
    assert "dataset closed lets nothing leave" in told["detail"]
    new(api, task={**TEMPLATE, "inputs": reads}, parameters=values)
    assert Array.objects.count() == 1


def test_each_entry_of_the_parameters_becomes_a_task(api):
    made = new(api)
    assert made["size"] == 3
    rows = api.get(f"{API}/arrays/{made['id']}/tasks").json()["tasks"]
    assert [r["name"] for r in rows] == ["profile quy", "profile ayr", "profile arn"]
    assert [r["index"] for r in rows] == [0, 1, 2]
    shown = api.get(f"{TES}/tasks/{rows[1]['id']}", {"view": "FULL"}).json()
    executor = shown["executors"][0]
    assert executor["command"] == ["count", "ayr", "1"]
    assert executor["env"] == {"AYNI_ARRAY_INDEX": "1", "AYNI_PARAM_lang": "ayr"}


def test_a_count_makes_so_many_tasks_of_one_group(api):
    new(api, task={"executors": [{"image": "x", "command": ["y"]}]}, count=1200)
    assert Task.objects.count() == 1200
    assert Group.objects.count() == 1


def test_tags_are_filled_for_each_task(api):
    new(api)
    found = api.get(f"{TES}/tasks", {"tag_key": "language", "tag_value": "arn"}).json()["tasks"]
    assert len(found) == 1
    assert TaskTag.objects.filter(key="kind", value="profile").count() == 3


def test_an_array_is_listed_with_its_counts(api):
    made = new(api)
    row = api.get(f"{API}/arrays").json()["arrays"][0]
    assert (row["id"], row["size"], row["counts"]) == (made["id"], 3, {"QUEUED": 3})


def test_an_array_ends_with_its_last_task(api):
    made = new(api)
    end(made["id"], [TaskState.COMPLETE, TaskState.COMPLETE, TaskState.RUNNING])
    assert Array.objects.get().ended is None
    end(made["id"], [TaskState.COMPLETE, TaskState.COMPLETE, TaskState.EXECUTOR_ERROR])
    shown = api.get(f"{API}/arrays/{made['id']}").json()
    assert shown["ended"]
    assert shown["counts"] == {"COMPLETE": 2, "EXECUTOR_ERROR": 1}


def test_only_the_failed_indices_run_again(api):
    made = new(api)
    end(made["id"], [TaskState.COMPLETE, TaskState.EXECUTOR_ERROR, TaskState.CANCELED])
    again = api.post(f"{API}/arrays/{made['id']}/rerun")
    assert again.status_code == 201
    assert again.json()["size"] == 2
    rows = api.get(f"{API}/tasks", {"array": again.json()["id"]}).json()["tasks"]
    assert [(r["index"], r["name"], r["state"]) for r in rows] == [
        (1, "profile ayr", "QUEUED"),
        (2, "profile arn", "QUEUED"),
    ]
    assert api.get(f"{API}/arrays/{again.json()['id']}").json()["rerun_of"] == made["id"]
    tagged = {"tag_key": "language", "tag_value": "ayr"}
    assert len(api.get(f"{TES}/tasks", tagged).json()["tasks"]) == 2


def test_a_rerun_is_of_whoever_asks_for_it(api):
    """Sites judge by the person, so the broker's groups must be that person's too."""
    site = make.site()
    make.dataset(site, name="songs")
    reading = {"inputs": [{"url": f"ayni://{site.name}/songs/a", "path": "/a"}]}
    made = new(api, task=TEMPLATE | reading)
    end(made["id"], [TaskState.EXECUTOR_ERROR] * 3)
    other = make.caller_in(api.project)
    number, size = rerun_failed(other, Array.objects.get())
    again = Task.objects.filter(array=number).select_related("group")
    assert size == len(again) == 3
    assert {(t.person_id, t.group.person_id) for t in again} == {(other.person.pk,) * 2}
    groups = Group.objects.values("shape", "sites", "data", "datasets", "https_hosts")
    assert len(groups) == 2
    assert groups[0] == groups[1]


def test_nothing_failed_is_a_conflict(api):
    made = new(api)
    assert api.post(f"{API}/arrays/{made['id']}/rerun").status_code == 409


def test_a_rerun_with_the_same_key_is_made_once(api):
    made = new(api)
    end(made["id"], [TaskState.CANCELED] * 3)
    first, second = (
        api.post(f"{API}/arrays/{made['id']}/rerun", Idempotency_Key="k").json() for _ in range(2)
    )
    assert first == second
    assert Array.objects.count() == 2


def test_cancelling_an_array_cancels_what_has_not_ended(api):
    made = new(api)
    end(made["id"], [TaskState.COMPLETE, TaskState.QUEUED, TaskState.RUNNING])
    assert api.post(f"{API}/arrays/{made['id']}/cancel").status_code == 200
    assert api.get(f"{API}/arrays/{made['id']}").json()["counts"] == {"COMPLETE": 1, "CANCELED": 2}
    assert Array.objects.get().ended is not None


def test_data_sets_named_by_parameters_make_a_group_for_each_site(api):
    here, there = make.dataset(name="quy"), make.dataset(name="arn")
    task = {
        "inputs": [{"path": "/in", "type": "DIRECTORY", "url": "ayni://{{site}}/{{lang}}/"}],
        "executors": TEMPLATE["executors"],
    }
    held = [{"site": d.site.name, "lang": d.name} for d in (here, there, here)]
    made = new(api, task=task, parameters=held)
    groups = (
        Task.objects.filter(array=ids.read(made["id"])).order_by("id").values_list("group__sites")
    )
    assert [g[0] for g in groups] == [[here.site.name], [there.site.name], [here.site.name]]
    held[1]["lang"] = "nothing"
    said = new(api, 400, task=task, parameters=held)
    assert "task 1: inputs[0].url" in said["detail"]


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"count": 0}, "count"),
        ({"count": 100_001}, "count"),
        ({"count": 2, "parameters": LANGUAGES}, ""),
        ({"parameters": []}, "parameters"),
        ({"parameters": [{"language": "quy"}]}, ""),
        ({"parameters": [{"lang": "quy", "index": "1"}]}, ""),
        ({"parameters": [{"lang": 3}]}, "parameters[0].lang"),
        ({"task": {"executors": [{"image": "{{lang}}", "command": ["x"]}]}}, ""),
    ],
)
def test_a_mistake_in_an_array_is_told(api, fields, where):
    said = new(api, 400, **fields)
    assert said["errors"][0]["field"] == where
    assert not Task.objects.exists()


@pytest.mark.parametrize("value", ["../../x", "/etc", "a\tb/../..", "x" * 2000, "."])
def test_a_parameter_does_not_lead_out_of_the_project(api, value):
    out = {"path": "/out", "url": f"ayni://{api.project.name}/out/{{{{lang}}}}"}
    task = {"executors": TEMPLATE["executors"], "outputs": [out]}
    answer = api.post(
        f"{API}/arrays", {"task": task, "parameters": [{"lang": "ok"}, {"lang": value}]}
    )
    if answer.status_code == 400:
        assert answer.json()["detail"].startswith("task 1:")
    else:
        assert value == "/etc"  # beneath out/, where it does no harm


def test_a_parameter_does_not_choose_another_project(api):
    out = {"path": "/out", "url": "ayni://{{lang}}/out"}
    task = {"executors": TEMPLATE["executors"], "outputs": [out]}
    said = new(api, 400, task=task, parameters=[{"lang": api.project.name}, {"lang": "other"}])
    assert said["detail"].startswith("task 1: outputs[0].url")


PLAIN = {"executors": [{"image": "host", "command": ["true"]}]}


@pytest.mark.parametrize(
    ("bound", "task", "where"),
    [
        ("MOST_INPUTS", {"inputs": [{"url": "https://x.org/{{index}}", "path": "/a"}]}, "inputs"),
        ("MOST_TAGS", {"tags": {"a": "1"}}, "tags"),
        ("MOST_PLACES", {"inputs": [{"url": "https://{{index}}.org/", "path": "/a"}]}, "inputs"),
        ("MOST_CHECKED", {"name": "{{index}}" * 20}, "task"),
    ],
)
def test_what_an_array_costs_is_bounded(api, monkeypatch, bound, task, where):
    """Any user may ask for 100,000 tasks; what is checked for each must not keep the hub for hours."""
    new(api, task=PLAIN | task, count=20)
    monkeypatch.setattr(prepare, bound, 19)
    told = new(api, 400, task=PLAIN | task, count=20)
    assert where in told["errors"][0]["field"]
    assert "smaller arrays" in told["detail"] or "an array for each few" in told["detail"]
    assert Array.objects.count() == 1
