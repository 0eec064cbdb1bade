"""What follows when tasks have ended: arrays end, notices fall due, waiting tasks are released or fail.

Called within the transaction that made the tasks final. Rows are locked in one order (tasks, their
arrays, those who wait), and the lock on an array decides which of two ends was the last.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db.models import Count, Exists, OuterRef, Q, QuerySet
from django.utils import timezone

from ayni.hub.network import bulk, wake
from ayni.hub.network.bulk import parts
from ayni.hub.tasks import ids
from ayni.hub.tasks.life import FINAL, SHOWN, TaskState, next_state
from ayni.hub.tasks.models import After, Array, Task
from ayni.protocol.policy import Reason

FINAL_VALUES = [state.value for state in FINAL]
UNFINISHED = [state.value for state in TaskState if state not in FINAL]
RELEASED = next_state(TaskState.WAITING, "released")
FAILED = next_state(TaskState.WAITING, "dependency failed")
WELL = TaskState.COMPLETE.name

# Plain SQL: every sync that ends a task asks all of this, mostly to hear that there is nothing.
_ARRAYS = "SELECT DISTINCT array_id FROM tasks_task WHERE {tasks} AND array_id IS NOT NULL"
_OPEN = "SELECT id FROM tasks_array WHERE {arrays} AND ended IS NULL ORDER BY id{lock}"
_OVER = """
SELECT r.id FROM tasks_array r WHERE {arrays} AND NOT EXISTS (
    SELECT 1 FROM tasks_task t WHERE t.array_id = r.id AND t.state IN ({unfinished}))
"""
_DUE = "UPDATE tasks_notice SET due = %s WHERE {ended} AND due IS NULL AND sent IS NULL"
_UNSETTLED = """
SELECT id, task_id, array_id, on_task_id, on_array_id, ended_is_enough, settled FROM tasks_after
WHERE {ended} AND NOT settled
"""


@dataclass(slots=True)
class _Ended:
    tasks: list[int] = field(default_factory=list)
    arrays: set[int] = field(default_factory=set)  # of these tasks; they may have ended too


def tasks_ended(task_ids: Collection[int]) -> None:
    """These tasks have become final."""
    found = bulk.select(_ARRAYS.format(tasks=bulk.among("id")), [bulk.these(task_ids)])
    close(list(task_ids), {row[0] for row in found})


def close(tasks: list[int], arrays: set[int]) -> None:
    """As `tasks_ended`, where the tasks' arrays are known."""
    ended = _Ended(tasks, arrays)
    now = timezone.now()
    while ended.tasks:
        over = _end_arrays(ended.arrays, now)
        _notices_due(ended.tasks, over, now)
        waiting = _waiting_for(ended.tasks, over)
        ended = _settle(waiting, now)


def settle_new(*, task: int | None, array: int | None) -> None:
    """A task or array was made that waits: what it waits for may have ended before."""
    mine = After.objects.filter(task=task, array=array)
    # Whoever ends them meanwhile waits for us here, and then finds that we wait for them.
    _lock(Task.objects.filter(id__in=mine.filter(on_task__isnull=False).values("on_task")))
    _lock(Array.objects.filter(id__in=mine.filter(on_array__isnull=False).values("on_array")))
    ended = _settle(list(mine), timezone.now())
    if ended.tasks:
        close(ended.tasks, ended.arrays)


def counts_of(arrays: Collection[int]) -> dict[int, dict[str, int]]:
    """Tasks by the state that people see, for each array."""
    counts: dict[int, dict[str, int]] = {number: {} for number in arrays}
    rows = (
        Task.objects.filter(array__in=arrays).values_list("array", "state").annotate(n=Count("*"))
    )
    for array, state, n in rows.order_by():
        shown = SHOWN[TaskState(state)].value
        counts[array][shown] = counts[array].get(shown, 0) + n
    return counts


def _end_arrays(arrays: Collection[int], now: datetime) -> list[int]:
    """Those of the arrays that have just ended."""
    if not arrays:
        return []
    lock = bulk.for_update("tasks_array")
    sql = _OPEN.format(arrays=bulk.among("id"), lock=lock)
    unended = [row[0] for row in bulk.select(sql, [bulk.these(arrays)])]
    # Looked at again with the lock held: what others ended meanwhile is seen now.
    sql = _OVER.format(arrays=bulk.among("r.id"), unfinished=bulk.marks(UNFINISHED))
    over = [row[0] for row in bulk.select(sql, [bulk.these(unended), *UNFINISHED])]
    if over:
        for number, counts in counts_of(over).items():
            Array.objects.filter(id=number).update(ended=now, counts=counts)
    return over


def _notices_due(tasks: Collection[int], arrays: Collection[int], now: datetime) -> None:
    for column, ended in (("task_id", tasks), ("array_id", arrays)):
        if ended:
            bulk.run(_DUE.format(ended=bulk.among(column)), [now, bulk.these(ended)])


def _waiting_for(tasks: Collection[int], arrays: Collection[int]) -> list[After]:
    waiting: list[After] = []
    for column, ended in (("on_task_id", tasks), ("on_array_id", arrays)):
        if ended:
            sql = _UNSETTLED.format(ended=bulk.among(column))
            waiting += (After(*row) for row in bulk.select(sql, [bulk.these(ended)]))
    return waiting


# --- settling ---------------------------------------------------------------------------------


def _settle(waiting: Collection[After], now: datetime) -> _Ended:
    """Release or end those who wait, as far as what they wait for has ended; who ended by it."""
    if not waiting:
        return _Ended()
    judge = _Judge(waiting)
    failed: dict[tuple[int | None, int | None], Reason] = {}
    settled: list[After] = []
    for row in waiting:
        verdict = judge.verdict(row)
        if verdict is None:
            continue
        settled.append(row)
        if isinstance(verdict, Reason):
            failed.setdefault((row.task_id, row.array_id), verdict)
    for part in parts(row.pk for row in settled):
        After.objects.filter(pk__in=part).update(settled=True)
    _release([row for row in settled if (row.task_id, row.array_id) not in failed])
    return _fail(failed, now)


class _Judge:
    """Says of each dependency whether it ended, and well."""

    def __init__(self, waiting: Collection[After]) -> None:
        tasks = {row.on_task_id for row in waiting if row.on_task_id is not None}
        arrays = {row.on_array_id for row in waiting if row.on_array_id is not None}
        self.tasks: dict[int, TaskState] = {}
        for part in parts(tasks):
            rows = Task.objects.filter(id__in=part).values_list("id", "state")
            self.tasks |= {number: TaskState(state) for number, state in rows}
        over = Array.objects.filter(id__in=arrays, ended__isnull=False)
        self.arrays = {number: counts or {} for number, counts in over.values_list("id", "counts")}

    def verdict(self, row: After) -> Reason | bool | None:
        """None: not yet. True: it may go on. A reason: it never may."""
        if row.on_task_id is not None:
            state = self.tasks[row.on_task_id]
            if state not in FINAL:
                return None
            if row.ended_is_enough or state is TaskState.COMPLETE:
                return True
            return _reason("task", row.on_task_id, f"which ended as {state.name}")
        assert row.on_array_id is not None
        counts = self.arrays.get(row.on_array_id)
        if counts is None:
            return None
        bad = sum(n for state, n in counts.items() if state != WELL)
        if row.ended_is_enough or not bad:
            return True
        return _reason("array", row.on_array_id, f"of which {bad} tasks did not end well")


def _reason(kind: str, number: int, what: str) -> Reason:
    shown = ids.show(number)
    return Reason(
        code="dependency", message=f"waited for {kind} {shown}, {what}", parameters={"id": shown}
    )


def _release(settled: Iterable[After]) -> None:
    """Queue those who wait for nothing more.

    The lock on who waits makes the last of several ends, at the same time, see what the others settled.
    """
    tasks = {row.task_id for row in settled if row.task_id is not None}
    arrays = {row.array_id for row in settled if row.array_id is not None}
    projects: set[int] = set()
    for part in parts(sorted(tasks)):
        waiting = Task.objects.filter(id__in=part, state=TaskState.WAITING.value)
        _lock(waiting)
        still = After.objects.filter(task=OuterRef("pk"), settled=False)
        projects |= _queue(list(waiting.filter(~Exists(still)).values_list("id", "project_id")))
    _lock(Array.objects.filter(id__in=arrays))
    for number in sorted(arrays):
        if After.objects.filter(array=number, settled=False).exists():
            continue
        mine = Task.objects.filter(array=number, state=TaskState.WAITING.value)
        if mine.update(state=RELEASED.value):
            projects.add(Array.objects.values_list("project_id", flat=True).get(id=number))
    if projects:
        wake.broker()
        wake.task(*projects)


def _lock(rows: QuerySet[Any]) -> None:
    """Hold the rows until the transaction ends, in the order that all keep to."""
    list(rows.select_for_update(no_key=True).order_by("id").values_list("id"))


def _queue(ready: Collection[tuple[int, int]]) -> set[int]:
    waiting = Task.objects.filter(state=TaskState.WAITING.value)
    waiting.filter(id__in=[number for number, _ in ready]).update(state=RELEASED.value)
    return {project for _, project in ready}


def _fail(failed: dict[tuple[int | None, int | None], Reason], now: datetime) -> _Ended:
    """End those whose dependency did not end well."""
    ended = _Ended()
    by_reason: dict[str, list[tuple[int | None, int | None]]] = defaultdict(list)
    reasons = {reason.message: reason for reason in failed.values()}
    for waiter, reason in failed.items():
        by_reason[reason.message].append(waiter)
    for message, waiters in by_reason.items():
        tasks = [task for task, _ in waiters if task is not None]
        arrays = [array for _, array in waiters if array is not None]
        rows = list(
            Task.objects.select_for_update(no_key=True)
            .filter(Q(id__in=tasks) | Q(array__in=arrays), state=TaskState.WAITING.value)
            .order_by("id")
            .values_list("id", "array_id", "project_id")
        )
        for part in parts(row[0] for row in rows):
            Task.objects.filter(id__in=part).update(
                state=FAILED.value, reason=reasons[message].model_dump(), ended=now
            )
        ended.tasks += [row[0] for row in rows]
        ended.arrays |= {row[1] for row in rows if row[1] is not None}
        if rows:
            wake.task(*{row[2] for row in rows})
    return ended
