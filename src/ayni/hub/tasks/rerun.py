"""Running an array's failed indices again, and only these: a new array of the same template."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import orjson

from ayni.hub.accounts.tokens import Caller
from ayni.hub.http import ProblemError
from ayni.hub.tasks import groups, ids, rows
from ayni.hub.tasks.create import TAGS, TASKS, once
from ayni.hub.tasks.life import FINAL, TaskState
from ayni.hub.tasks.models import Array, Task, TaskTag
from ayni.hub.tasks.requests import check_key

FAILED = [state.value for state in FINAL if state is not TaskState.COMPLETE]


def rerun_failed(who: Caller, array: Array, key: str | None = None) -> tuple[int, int]:
    """A new array with the failed tasks' indices and parameters; its number and size.

    Raises:
        ProblemError: 409, none of its tasks has failed.
    """
    failed = list(
        Task.objects.filter(array=array, state__in=FAILED)
        .order_by("id")
        .values_list("id", "group_id", "index", "parameters", "name")
    )
    if not failed:
        raise ProblemError(
            409, "Nothing to run again", "no task of the array has failed; see its counts"
        )
    new = once(who, f"rerun {array.pk}", check_key(key), lambda now: _make(who, array, failed, now))
    return new, Array.objects.values_list("size", flat=True).get(pk=new)


def _make(who: Caller, array: Array, failed: list[tuple[Any, ...]], now: datetime) -> int:
    number = ids.new(len(failed) + 1)
    Array.objects.create(
        id=number,
        project=who.project,
        person=who.person,
        name=array.name,
        template=array.template,
        size=len(failed),
        rerun_of=array,
        created=now,
    )
    created = rows.moment(now)
    own = groups.own_groups(who.project, who.person, (group for _, group, *_ in failed))
    renumbered = {old: new for new, (old, *_) in enumerate(failed, number + 1)}

    def tasks() -> Iterator[tuple[Any, ...]]:
        for old, group, index, parameters, name in failed:
            values = None if parameters is None else orjson.dumps(parameters).decode()
            yield (
                renumbered[old], who.project.pk, who.person.pk, own[group], number, index, values, name,
                TaskState.QUEUED.value, 0, 0, None, created, None,
            )  # fmt: skip

    rows.insert(TASKS, rows.TASK, tasks(), len(failed))
    old_tags = TaskTag.objects.filter(task__array=array, task__state__in=FAILED)
    tags = [
        (renumbered[task], who.project.pk, key, value)
        for task, key, value in old_tags.values_list("task_id", "key", "value")
        if task in renumbered
    ]
    if tags:
        rows.insert(TAGS, rows.TAG, tags, len(tags))
    return number
