"""What the pages on tasks read: pages of a list, an array's progress, the life of one task."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from ayni.hub.portal import words
from ayni.hub.portal.charts import Part, state_bar
from ayni.hub.tasks.life import FINAL, SHOWN, TaskState
from ayni.hub.tasks.models import Array, Attempt, Task
from ayni.hub.tasks.shown import array_rows
from ayni.tes.models import State

PAGE = 50


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a list."""

    task: Task
    label: words.Label
    site: str
    seconds: float | None  # from creation to end

    @property
    def name(self) -> str:
        name = self.task.name or (self.task.array.name if self.task.array else "")
        name = name or gettext("sin nombre")
        return name if self.task.index is None else f"{name} [{self.task.index}]"


def rows(found: Sequence[Task]) -> list[Row]:
    """With the site of each task's last attempt, in one query more."""
    sites = dict(
        Attempt.objects.filter(task__in=[t.id for t in found])
        .order_by("number")
        .values_list("task_id", "site__title")
    )
    return [
        Row(
            task,
            words.TASK_STATES[TaskState(task.state)],
            sites.get(task.id, ""),
            (task.ended - task.created).total_seconds() if task.ended else None,
        )
        for task in found
    ]


@dataclass(frozen=True, slots=True)
class Progress:
    """An array and how far it is."""

    array: Array
    counts: Mapping[str, int]  # by the state as every client knows it
    bar: list[Part]

    @property
    def name(self) -> str:
        return self.array.name or gettext("sin nombre")

    @property
    def done(self) -> int:
        return sum(n for state, n in self.counts.items() if state in _ENDED)

    @property
    def failed(self) -> int:
        return self.done - self.counts.get(State.COMPLETE.value, 0)

    @property
    def over(self) -> bool:
        return self.done >= self.array.size


_ENDED = {SHOWN[state].value for state in FINAL}


def progress(arrays: Iterable[Array]) -> list[Progress]:
    listed = list(arrays)
    counts = [row["counts"] for row in array_rows(listed)]
    return [Progress(a, n, state_bar(n)) for a, n in zip(listed, counts, strict=True)]


# --- one task -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Step:
    """One moment of a task's life."""

    at: datetime
    label: words.Label
    detail: str = ""


_CREATED = words.Label("queued", "ring", _("Enviada"))


def timeline(task: Task, attempts: Sequence[Attempt]) -> list[Step]:
    """What happened, in order: of the task, and of each attempt at its site."""
    steps = [Step(task.created, _CREATED, task.person.name)]
    over = task.state in (TaskState.COMPLETE, TaskState.EXECUTOR_ERROR)  # as its last attempt
    for attempt in attempts:
        where = f"{attempt.site.title} · {attempt.partition}"
        steps.append(Step(attempt.assigned, words.TASK_STATES[TaskState.PLACED], where))
        if attempt.started:
            host = str((attempt.report or {}).get("host") or "")
            detail = f"{attempt.site.title} · {host}" if host else attempt.site.title
            steps.append(Step(attempt.started, words.TASK_STATES[TaskState.RUNNING], detail))
        if attempt.ended and not attempt.live and not (over and attempt is attempts[-1]):
            label = words.ATTEMPT_STATES.get(attempt.state, words.ATTEMPT_STATES["lost"])
            steps.append(Step(attempt.ended, label, attempt.site.title))
    if task.ended:
        where = attempts[-1].site.title if over and attempts else ""
        steps.append(Step(task.ended, words.TASK_STATES[TaskState(task.state)], where))
    return sorted(steps, key=lambda step: step.at)


@dataclass(frozen=True, slots=True)
class Try:
    """An attempt as the table shows it."""

    attempt: Attempt
    label: words.Label
    exit_codes: list[int]
    reason: Mapping[str, Any] | None
    usage: Any  # ledger.UsageRecord, or None
    wall: timedelta | None


def tries(attempts: Sequence[Attempt]) -> list[Try]:
    answer = []
    for attempt in attempts:
        report: Mapping[str, Any] = attempt.report or {}
        wall = attempt.ended - attempt.started if attempt.started and attempt.ended else None
        answer.append(
            Try(
                attempt,
                words.ATTEMPT_STATES.get(attempt.state, words.ATTEMPT_STATES["lost"]),
                [c["exit_code"] for c in report.get("commands", ())],
                report.get("reason"),
                getattr(attempt, "usage", None),
                wall,
            )
        )
    return answer
