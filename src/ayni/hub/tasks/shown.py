"""Tasks and arrays as our API shows them: rows for lists, and one in full."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from ayni.hub.network.bulk import parts
from ayni.hub.tasks import ids
from ayni.hub.tasks.documents import accepted_outputs, submissions
from ayni.hub.tasks.ending import counts_of
from ayni.hub.tasks.life import SHOWN, TaskState
from ayni.hub.tasks.models import After, Array, Attempt, Task

Row = dict[str, Any]
RELATED = ("person",)  # what `task_rows` needs read with the tasks


def task_rows(tasks: Sequence[Task]) -> list[Row]:
    """A line for each task, with the site of its latest attempt; two queries."""
    latest: dict[int, tuple[Any, ...]] = {}
    for part in parts(t.pk for t in tasks):
        attempts = Attempt.objects.filter(task__in=part).order_by("number")
        for number, *where in attempts.values_list("task", "site__name", "partition", "started"):
            latest[number] = tuple(where)
    return [_task_row(task, *latest.get(task.pk, (None, None, None))) for task in tasks]


def _task_row(task: Task, site: str | None, partition: str | None, started: Any) -> Row:
    return {
        "id": ids.show(task.pk),
        "name": task.name,
        "state": SHOWN[TaskState(task.state)].value,
        "array": shown_or_none(task.array_id),
        "index": task.index,
        "site": site,
        "partition": partition,
        "tries": task.tries,
        "created": task.created,
        "started": started,
        "ended": task.ended,
        "reason": task.reason,
        "person": {"name": task.person.name, "email": task.person.email},
    }


def shown_or_none(number: int | None) -> str | None:
    return None if number is None else ids.show(number)


def task_in_full(task: Task) -> Row:
    """The task with its attempts, shape, dependencies and outputs."""
    attempts = list(task.attempts.select_related("site").order_by("number"))
    document = submissions([task])[task.pk]
    waits_for = After.objects.filter(task=task)
    if task.array_id is not None:
        waits_for = After.objects.filter(array=task.array_id)
    last = attempts[-1] if attempts else None
    where = (last.site.name, last.partition, last.started) if last else (None, None, None)
    return _task_row(task, *where) | {
        "attempts": [_attempt(one) for one in attempts],
        "shape": task.group.shape,
        **chain(task),
        "tags": document.get("tags", {}),
        "after": after_rows(waits_for),
        "parameters": task.parameters,
        "outputs": [
            {name: o[name] for name in ("path", "url", "size", "sha256")}
            for one in attempts
            for o in accepted_outputs(one)
        ],
    }


def chain(task: Task) -> Row:
    """Which link of its chain the task is at; select `group` with it."""
    return {"link": task.links + 1, "links": task.group.shape.get("chain", 1)}


def _attempt(attempt: Attempt) -> Row:
    report: Row = attempt.report or {}
    return {
        "id": ids.show(attempt.pk),
        "number": attempt.number,
        "site": attempt.site.name,
        "partition": attempt.partition,
        "state": attempt.state,
        "assigned": attempt.assigned,
        "started": attempt.started,
        "ended": attempt.ended,
        "host": report.get("host") or "",
        "reason": report.get("reason"),
        "superseded": attempt.superseded,
        "exit_codes": [command["exit_code"] for command in report.get("commands") or ()],
        "usage": report.get("usage"),
    }


def after_rows(waits_for: Iterable[After]) -> list[Row]:
    return [
        {
            "id": ids.show(row.on_task_id or row.on_array_id or 0),
            "when": "ended" if row.ended_is_enough else "ok",
            "settled": row.settled,
        }
        for row in waits_for
    ]


# --- arrays -----------------------------------------------------------------------------------


def array_rows(arrays: Sequence[Array]) -> list[Row]:
    """A line for each array; only those that go on are counted afresh."""
    going_on = [a.pk for a in arrays if a.counts is None]
    counts = counts_of(going_on) if going_on else {}
    return [
        {
            "id": ids.show(array.pk),
            "name": array.name,
            "size": array.size,
            "created": array.created,
            "ended": array.ended,
            "counts": counts.get(array.pk) if array.counts is None else array.counts,
            "rerun_of": shown_or_none(array.rerun_of_id),
        }
        for array in arrays
    ]


def array_in_full(array: Array) -> Row:
    row = array_rows([array])[0]
    return row | {
        "version": version_of(row["counts"]),
        "template": orjson.loads(array.template),
        "after": after_rows(After.objects.filter(array=array)),
    }


def version_of(counts: dict[str, int]) -> str:
    text = orjson.dumps(counts, option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(text).hexdigest()[:16]
