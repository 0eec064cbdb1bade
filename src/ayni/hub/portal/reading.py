"""What the pages on tasks read: pages of a list, an array's progress, the life of one task."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta, datetime
from typing import Any

from django.db.models import Count
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from ayni.hub.portal import words
from ayni.hub.portal.charts import Part, state_bar
from ayni.hub.tasks.life import FINAL, TaskState
from ayni.hub.tasks.models import Array, Attempt, Task

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
    counts: Mapping[TaskState, int]
    bar: list[Part] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.array.name or gettext("sin nombre")

    @property
    def done(self) -> int:
        return sum(n for state, n in self.counts.items() if state in FINAL)

    @property
    def failed(self) -> int:
        return sum(n for s, n in self.counts.items() if s in FINAL and s is not TaskState.COMPLETE)

    @property
    def over(self) -> bool:
        return self.done >= self.array.size


def progress(arrays: Iterable[Array]) -> list[Progress]:
    """Counts by state, all in one query."""
    listed = list(arrays)
    counts: dict[int, dict[TaskState, int]] = defaultdict(dict)
    counted = Task.objects.filter(array__in=listed).values_list("array_id", "state").order_by()
    for array, state, n in counted.annotate(n=Count("id")):
        counts[array][TaskState(state)] = n
    return [Progress(a, counts[a.id], state_bar(counts[a.id])) for a in listed]


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
    for attempt in attempts:
        where = f"{attempt.site.title} · {attempt.partition}"
        steps.append(Step(attempt.assigned, words.TASK_STATES[TaskState.PLACED], where))
        if attempt.started:
            host = str((attempt.report or {}).get("host") or "")
            detail = f"{attempt.site.title} · {host}" if host else attempt.site.title
            steps.append(Step(attempt.started, words.TASK_STATES[TaskState.RUNNING], detail))
        if attempt.ended and not attempt.live:
            label = words.ATTEMPT_STATES.get(attempt.state, words.ATTEMPT_STATES["lost"])
            steps.append(Step(attempt.ended, label, attempt.site.title))
    if task.ended:
        steps.append(Step(task.ended, words.TASK_STATES[TaskState(task.state)]))
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
