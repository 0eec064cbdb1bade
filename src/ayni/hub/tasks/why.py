"""Where a task went, or why it waits: a sentence, and every site's part in a line each."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django.utils import timezone

from ayni.broker.reasons import span
from ayni.broker.types import Settings
from ayni.hub.network import explain
from ayni.hub.network.models import Site
from ayni.hub.network.record import reason_json
from ayni.hub.tasks import ids
from ayni.hub.tasks.life import SHOWN, TaskState
from ayni.hub.tasks.models import After, Attempt, Placement, Task
from ayni.hub.tasks.shown import after_rows, chain
from ayni.protocol.attempts import AttemptState

_PLACEMENTS = 20
_SILENT = Settings().silent_after
_UNPLACED = (TaskState.WAITING, TaskState.QUEUED)
Row = dict[str, Any]


def why(task: Task) -> Row:
    """The answer of `GET /tasks/{id}/why`."""
    state = TaskState(task.state)
    attempts = list(task.attempts.select_related("site").order_by("number"))
    decisions = Placement.objects.filter(group=task.group_id).order_by("-last")
    placements = list(decisions.select_related("site")[:_PLACEMENTS])
    waits_for = list(
        After.objects.filter(array=task.array_id)
        if task.array_id is not None
        else After.objects.filter(task=task)
    )
    decision = explain.why(task.group_id) if state in _UNPLACED else None
    if decision is not None:
        verdicts = [reason_json(reason) for reason in decision.reasons]
    else:
        verdicts = _reasons_then(attempts, decisions)
    chances = explain.summary(decision) if decision else ""
    return {
        "id": ids.show(task.pk),
        "state": SHOWN[state].value,
        "summary": _summary(state, task, attempts, waits_for, chances),
        "sites": _every_site(verdicts),
        "placements": [
            {
                "at": one.last,
                "site": one.site.name if one.site else None,
                "partition": one.partition or None,
                "count": one.count,
            }
            for one in placements
        ],
        "after": after_rows(waits_for),
    }


def _reasons_then(attempts: list[Attempt], decisions: QuerySet[Placement]) -> list[Row]:
    """What the broker thought when it gave the group to the site of the latest attempt."""
    where = attempts[-1].site_id if attempts else None
    found = decisions.filter(site=where).first()
    return list(found.reasons) if found else []


def _every_site(verdicts: list[Row]) -> list[Row]:
    """With the parameters, for whoever says it in another language; the API leaves them out."""
    said = {v["site"]: v for v in verdicts}
    nothing = {
        "verdict": "ineligible",
        "code": "unasked",
        "message": "was not considered then",
        "parameters": {},
    }
    names = Site.objects.order_by("name").values_list("name", flat=True)
    return [_with_start(said.get(name) or {"site": name, **nothing}) for name in names]


def _with_start(verdict: Row) -> Row:
    """What was expected of its start stands beside the words, too."""
    parameters = verdict.get("parameters") or {}
    return {**verdict, "start_in": parameters.get("start_in"), "by": parameters.get("by")}


# --- the sentence -----------------------------------------------------------------------------


def _summary(
    state: TaskState,
    task: Task,
    attempts: list[Attempt],
    waits_for: list[After],
    chances: str,
) -> str:
    last = attempts[-1] if attempts else None
    match state:
        case TaskState.WAITING:
            rest = [
                ids.show(w.on_task_id or w.on_array_id or 0) for w in waits_for if not w.settled
            ]
            return f"waits for {', '.join(rest)} to end"
        case TaskState.QUEUED:
            return _queued(task, last, chances)
        case TaskState.PLACED | TaskState.INITIALIZING | TaskState.RUNNING:
            assert last is not None
            doing = f"{_DOING.get(last.state, 'is')} at {_place(last)}{_part(task, last)}"
            return doing + _silence(last.site)
        case TaskState.COMPLETE:
            return f"ran at {_place(last)}{_part(task, last)}" if last else "ended well"
    said = (task.reason or {}).get("message", "no reason is known")
    return f"{said} ({_place(last)})" if last else said


_DOING: dict[str, str] = {
    AttemptState.ASSIGNED.value: "is being sent to its place",
    AttemptState.ACCEPTED.value: "was accepted",
    AttemptState.INITIALIZING.value: "fetches its inputs",
    AttemptState.PENDING.value: "waits in the queue",
    AttemptState.RUNNING.value: "runs",
    AttemptState.FINALIZING.value: "keeps its outputs",
}


def _queued(task: Task, last: Attempt | None, chances: str) -> str:
    if last is None:
        return chances
    if last.state == AttemptState.UNFINISHED.value:
        at = chain(task)
        return f"{chances}; link {at['link']} of {at['links']} is to go on at {last.site.name}"
    reason = (last.report or {}).get("reason") or {}
    told = f": {reason['message']}" if reason.get("message") else ""
    return f"{chances}; try {last.number} at {last.site.name} was {last.state}{told}"


def _place(attempt: Attempt) -> str:
    return f"{attempt.site.name}, partition {attempt.partition}"


def _silence(site: Site) -> str:
    seconds = 0.0
    if site.last_seen is not None:
        seconds = (timezone.now() - site.last_seen).total_seconds()
    return f", which has not been heard for {span(seconds)}" if seconds > _SILENT else ""


def _part(task: Task, attempt: Attempt) -> str:
    """Which link of a chain it is, or which try."""
    at = chain(task)
    if at["links"] == 1:
        return f" (try {attempt.number})" if attempt.number > 1 else ""
    again = f", try {task.tries}" if task.tries > 1 else ""
    return f" (link {at['link']} of {at['links']}{again})"
