"""Tasks and arrays that wait for others."""

from __future__ import annotations

import pytest

from ayni.hub.tasks import ids
from ayni.hub.tasks.cancel import cancel_tasks
from ayni.hub.tasks.ending import tasks_ended
from ayni.hub.tasks.life import TaskState
from ayni.hub.tasks.models import Array, Task

from .conftest import API

TASK = {"executors": [{"image": "host", "command": ["true"]}]}


def task(api, *after, when="ok"):
    waits = [{"id": one, "when": when} for one in after]
    answer = api.post(f"{API}/tasks", {"task": TASK, "after": waits})
    assert answer.status_code == 201, answer.content
    return answer.json()["id"]


def array(api, count, *after, when="ok"):
    waits = [{"id": one, "when": when} for one in after]
    answer = api.post(f"{API}/arrays", {"task": TASK, "count": count, "after": waits})
    assert answer.status_code == 201, answer.content
    return answer.json()["id"]


def end(*shown, state=TaskState.COMPLETE):
    numbers = [ids.read(one) for one in shown]
    Task.objects.filter(id__in=numbers).update(state=state.value)
    tasks_ended(numbers)


def members(shown):
    return [
        ids.show(n) for n in Task.objects.filter(array=ids.read(shown)).values_list("id", flat=True)
    ]


def state(shown):
    return TaskState(Task.objects.get(id=ids.read(shown)).state)


def test_a_waiting_task_is_shown_as_queued_and_is_not_for_the_broker(api):
    first = task(api)
    second = task(api, first)
    assert state(second) is TaskState.WAITING
    assert api.get(f"{API}/tasks/{second}").json()["state"] == "QUEUED"
    assert api.get(f"{API}/tasks/{second}").json()["after"] == [
        {"id": first, "when": "ok", "settled": False}
    ]


def test_it_is_released_when_all_that_it_waits_for_ended_well(api):
    one, two = task(api), task(api)
    waiter = task(api, one, two)
    end(one)
    assert state(waiter) is TaskState.WAITING
    end(two)
    assert state(waiter) is TaskState.QUEUED


@pytest.mark.parametrize(
    "bad", [TaskState.EXECUTOR_ERROR, TaskState.SYSTEM_ERROR, TaskState.CANCELED]
)
def test_it_fails_when_what_it_waits_for_failed_and_says_which(api, bad):
    first = task(api)
    waiter = task(api, first)
    end(first, state=bad)
    assert state(waiter) is TaskState.SYSTEM_ERROR
    reason = api.get(f"{API}/tasks/{waiter}").json()["reason"]
    assert reason["code"] == "dependency"
    assert first in reason["message"] and bad.name in reason["message"]


def test_an_end_of_any_kind_is_enough_where_that_was_asked(api):
    first = task(api)
    waiter = task(api, first, when="ended")
    end(first, state=TaskState.EXECUTOR_ERROR)
    assert state(waiter) is TaskState.QUEUED


def test_a_failure_runs_down_the_chain(api):
    chain = [task(api)]
    for _ in range(4):
        chain.append(task(api, chain[-1]))
    last = task(api, chain[-1], when="ended")
    end(chain[0], state=TaskState.EXECUTOR_ERROR)
    assert {state(one) for one in chain[1:]} == {TaskState.SYSTEM_ERROR}
    assert state(last) is TaskState.QUEUED


def test_what_ended_before_is_seen_at_once(api):
    good, bad = task(api), task(api)
    end(good)
    end(bad, state=TaskState.CANCELED)
    assert state(task(api, good)) is TaskState.QUEUED
    assert state(task(api, bad)) is TaskState.SYSTEM_ERROR
    assert state(task(api, bad, when="ended")) is TaskState.QUEUED


def test_a_task_waits_for_a_whole_array(api):
    many = array(api, 3)
    gather = task(api, many)
    *some, last = members(many)
    end(*some)
    assert state(gather) is TaskState.WAITING
    end(last)
    assert state(gather) is TaskState.QUEUED


def test_one_bad_task_of_an_array_fails_those_who_wait_for_all_of_it(api):
    many = array(api, 3)
    gather, sweep = task(api, many), task(api, many, when="ended")
    one, *others = members(many)
    end(one, state=TaskState.EXECUTOR_ERROR)
    end(*others)
    assert state(gather) is TaskState.SYSTEM_ERROR
    assert "1 task" in api.get(f"{API}/tasks/{gather}").json()["reason"]["message"]
    assert state(sweep) is TaskState.QUEUED


def test_an_array_waits_and_is_released_whole(api):
    first = task(api)
    many = array(api, 5, first)
    assert {state(one) for one in members(many)} == {TaskState.WAITING}
    end(first)
    assert {state(one) for one in members(many)} == {TaskState.QUEUED}


def test_an_array_that_waits_in_vain_ends(api):
    first = task(api)
    many = array(api, 5, first)
    gather = task(api, many)
    cancel_tasks([ids.read(first)], "enough")
    assert Array.objects.get().counts == {"SYSTEM_ERROR": 5}
    assert state(gather) is TaskState.SYSTEM_ERROR


def test_a_cancelled_waiter_stays_cancelled(api):
    first = task(api)
    waiter = task(api, first)
    cancel_tasks([ids.read(waiter)], "enough")
    end(first)
    assert state(waiter) is TaskState.CANCELED


def test_only_tasks_of_the_project_can_be_waited_for(api, api_for):
    foreign = task(api_for())
    for wrong in (foreign, "0000000000000", "x"):
        answer = api.post(f"{API}/tasks", {"task": TASK, "after": [{"id": wrong}]})
        assert answer.status_code == 400
        assert answer.json()["errors"][0]["field"] == "after[0].id"


def test_ending_many_tasks_costs_few_queries(api, django_assert_max_num_queries):
    many = members(array(api, 400))
    task(api, *many[:300])
    numbers = [ids.read(one) for one in many]
    Task.objects.filter(id__in=numbers).update(state=TaskState.COMPLETE.value)
    with django_assert_max_num_queries(25):
        tasks_ended(numbers)
