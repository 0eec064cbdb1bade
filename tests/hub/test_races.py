"""Many at once: whatever the order, the outcome is one that could have happened one after the other."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Barrier

import pytest
from django.db import connection, transaction

from ayni.hub.tasks import ids
from ayni.hub.tasks.cancel import cancel_tasks
from ayni.hub.tasks.create import create_array, create_task
from ayni.hub.tasks.ending import tasks_ended
from ayni.hub.tasks.life import TaskState
from ayni.hub.tasks.models import After, Array, Task
from ayni.hub.tasks.requests import Dependency, NewArray
from ayni.tes import models as tes

from . import factories as make

pytestmark = pytest.mark.django_db(transaction=True)
TASK = tes.Task(executors=[tes.Executor(image="host", command=["true"])])


def together(*calls: Callable[[], object]) -> list[object]:
    """Run the calls at the same time, each with a connection of its own."""
    barrier = Barrier(len(calls))

    def run(call: Callable[[], object]) -> object:
        try:
            barrier.wait()
            return call()
        finally:
            connection.close()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


def end(numbers: list[int], state: TaskState = TaskState.COMPLETE) -> None:
    with transaction.atomic():
        Task.objects.filter(id__in=numbers).update(state=state.value)
        tasks_ended(numbers)


def test_one_request_sent_many_times_at_once_is_made_once():
    who = make.caller_in(make.project())
    made = together(*[lambda: create_task(who, TASK, idempotency_key="k")] * 6)
    assert len(set(made)) == 1
    assert Task.objects.count() == 1


def test_the_last_of_many_ends_the_array():
    who = make.caller_in(make.project())
    array, size = create_array(who, NewArray(task=TASK, count=12))
    waiter = create_task(who, TASK, [Dependency(id=ids.show(array))])
    numbers = list(Task.objects.filter(array=array).values_list("id", flat=True))
    together(*[lambda part=numbers[n::6]: end(part) for n in range(6)])
    ended = Array.objects.get(id=array)
    assert ended.ended is not None
    assert ended.counts == {"COMPLETE": size}
    assert Task.objects.get(id=waiter).state == TaskState.QUEUED.value


def test_a_waiter_that_comes_while_its_task_ends_is_not_forgotten():
    who = make.caller_in(make.project())
    for _ in range(5):
        first = create_task(who, TASK)
        waits = [Dependency(id=ids.show(first))]
        calls = [partial(create_task, who, TASK, waits)] * 3
        *waiters, _ = together(*calls, partial(end, [first]))
        states = Task.objects.filter(id__in=waiters).values_list("state", flat=True)
        assert list(states) == [TaskState.QUEUED.value] * 3
    assert not After.objects.filter(settled=False).exists()


def test_who_waits_for_several_is_released_when_these_end_at_once():
    who = make.caller_in(make.project())
    for _ in range(5):
        firsts = [create_task(who, TASK) for _ in range(4)]
        waits = [Dependency(id=ids.show(first)) for first in firsts]
        waiter = create_task(who, TASK, waits)
        array, _ = create_array(who, NewArray(task=TASK, count=2, after=waits))
        together(*[partial(end, [first]) for first in firsts])
        released = [waiter, *Task.objects.filter(array=array).values_list("id", flat=True)]
        states = Task.objects.filter(id__in=released).values_list("state", flat=True)
        assert list(states) == [TaskState.QUEUED.value] * 3


def test_cancelling_an_array_while_its_tasks_end_leaves_one_end_each():
    who = make.caller_in(make.project())
    array, size = create_array(who, NewArray(task=TASK, count=20))
    numbers = list(Task.objects.filter(array=array).values_list("id", flat=True))

    def complete(part: list[int]) -> None:
        with transaction.atomic():  # as the reports do: lock, then move what is not final
            open_ones = Task.objects.select_for_update().filter(id__in=part, ended=None)
            still = [t.pk for t in open_ones.order_by("id") if t.state == TaskState.QUEUED.value]
            end(still)

    together(
        lambda: cancel_tasks(Task.objects.filter(array=array), "enough"),
        lambda: complete(numbers[::2]),
        lambda: complete(numbers[1::2]),
    )
    counts = Array.objects.get(id=array).counts
    assert sum(counts.values()) == size
    assert set(counts) <= {"COMPLETE", "CANCELED"}
