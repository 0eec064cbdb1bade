"""Cancelling: the task is CANCELED at once; killing its attempt is a matter of the attempt."""

from __future__ import annotations

from collections.abc import Iterable

from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from ayni.hub.network import wake
from ayni.hub.network.bulk import parts
from ayni.hub.tasks.ending import UNFINISHED, close
from ayni.hub.tasks.life import TaskState, next_state
from ayni.hub.tasks.models import Attempt, Task
from ayni.protocol.policy import Reason


def cancel_tasks(tasks: QuerySet[Task] | Iterable[int], reason: str) -> int:
    """Cancel those of the tasks that have not ended; how many these were.

    Their live attempts hold their room until their sites say that they are dead.
    """
    with transaction.atomic():
        rows = _unfinished(tasks)
        if not rows:
            return 0
        now = timezone.now()
        why = Reason(code="canceled", message=reason).model_dump()
        sites: set[int] = set()
        for part in parts(number for number, *_ in rows):
            Task.objects.filter(id__in=part).update(
                state=TaskState.CANCELED.value, reason=why, ended=now
            )
            live = Attempt.objects.filter(task__in=part, live=True, superseded=False)
            sites |= set(live.values_list("site_id", flat=True))
            live.update(cancel=True)
        close([row[0] for row in rows], {row[1] for row in rows if row[1] is not None})
        wake.site(*sites)
        wake.task(*{row[2] for row in rows})
        return len(rows)


def _unfinished(tasks: QuerySet[Task] | Iterable[int]) -> list[tuple[int, int | None, int]]:
    """Number, array and project of each, locked."""
    conditions: Iterable[Q] = (
        [Q(pk__in=tasks.values("pk"))]
        if isinstance(tasks, QuerySet)
        else [Q(pk__in=part) for part in parts(tasks)]
    )
    rows: list[tuple[int, int | None, int]] = []
    for condition in conditions:
        found = Task.objects.select_for_update(no_key=True).filter(condition, state__in=UNFINISHED)
        rows += list(found.order_by("id").values_list("id", "array_id", "project_id"))
    return rows


# Every state that is not final may be cancelled: `life` says so, and this fails when it does not.
assert {next_state(TaskState(s), "cancel") for s in UNFINISHED} == {TaskState.CANCELED}
