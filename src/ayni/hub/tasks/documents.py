"""The documents of stored tasks as TES shows them, a page at a time in a handful of queries."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from ayni.hub.network.bulk import parts
from ayni.hub.tasks import ids
from ayni.hub.tasks.life import SHOWN, TaskState
from ayni.hub.tasks.models import Array, Attempt, Task, TaskBody
from ayni.protocol.attempts import AttemptState
from ayni.tes.arrays import expand
from ayni.tes.models import View
from ayni.tes.views import Document, rfc3339, show


def documents(tasks: Sequence[Task], view: View) -> list[Document]:
    """The tasks as `view` has them, in their order."""
    if view is View.MINIMAL:
        return [show(view, ids.show(t.pk), _shown(t)) for t in tasks]
    submitted = submissions(tasks)
    logs = _logs(tasks)
    return [
        show(view, ids.show(t.pk), _shown(t), submitted[t.pk], logs[t.pk], t.created) for t in tasks
    ]


def submissions(tasks: Sequence[Task]) -> dict[int, Document]:
    """What was submitted, each task of an array expanded."""
    found: dict[int, Document] = {}
    for part in parts(t.pk for t in tasks if t.array_id is None):
        bodies = TaskBody.objects.filter(task__in=part).values_list("task_id", "document")
        found |= {number: orjson.loads(text) for number, text in bodies}
    templates: dict[int, Document] = {}
    for part in parts({t.array_id for t in tasks if t.array_id is not None}):
        rows = Array.objects.filter(id__in=part).values_list("id", "template")
        templates |= {number: orjson.loads(text) for number, text in rows}
    for task in tasks:
        if task.array_id is not None:
            found[task.pk] = expand(templates[task.array_id], task.index or 0, task.parameters)
    return found


def _shown(task: Task) -> Any:
    return SHOWN[TaskState(task.state)]


# --- logs -------------------------------------------------------------------------------------


def _logs(tasks: Sequence[Task]) -> Mapping[int, list[Document]]:
    """A `tesTaskLog` for each attempt, and one for what ended without any."""
    logs: dict[int, list[Document]] = defaultdict(list)
    for part in parts(t.pk for t in tasks if t.state != TaskState.QUEUED.value or t.tries):
        attempts = Attempt.objects.filter(task__in=part).select_related("site")
        for attempt in attempts.order_by("task", "number"):
            logs[attempt.task_id].append(task_log(attempt))
    for task in tasks:
        if task.reason is not None:
            said = task.reason["message"]
            if not logs[task.pk]:
                logs[task.pk].append({"logs": [], "outputs": [], "system_logs": [said]})
            elif said not in (last := logs[task.pk][-1]).get("system_logs", []):
                last["system_logs"] = [*last.get("system_logs", []), said]
    return logs


def task_log(attempt: Attempt) -> Document:
    """One attempt as a full `tesTaskLog`."""
    report: Document = attempt.report or {}
    log: Document = {
        "logs": executor_logs(report),
        "outputs": [
            {"url": o["url"], "path": o["path"], "size_bytes": str(o["size"])}
            for o in accepted_outputs(attempt)
        ],
        "metadata": {
            "attempt": ids.show(attempt.pk),
            "site": attempt.site.name,
            "partition": attempt.partition,
            "host": report.get("host") or "",
            "state": attempt.state,
        },
    }
    if attempt.started is not None:
        log["start_time"] = rfc3339(attempt.started)
    if attempt.ended is not None:
        log["end_time"] = rfc3339(attempt.ended)
    said = list(report.get("system_log") or [])
    if reason := report.get("reason"):
        said.append(reason["message"])
    if said:
        log["system_logs"] = said
    return log


def accepted_outputs(attempt: Attempt) -> list[Document]:
    """The files that the attempt gave the task: none unless it was the one that counted."""
    if attempt.state != AttemptState.COMPLETE.value or attempt.superseded:
        return []
    return (attempt.report or {}).get("outputs") or []


def executor_logs(report: Document) -> list[Document]:
    """A `tesExecutorLog` for each command that has ended; `exit_code` is required there."""
    tails: dict[int, dict[str, str]] = defaultdict(dict)
    for log in report.get("logs") or ():
        tails[log["command"]][log["stream"]] = log["tail"]
    return [
        {
            "start_time": rfc3339(command["started"]),
            "end_time": rfc3339(command["ended"]),
            "exit_code": command["exit_code"],
            **{stream: tail for stream, tail in tails[number].items() if tail},
        }
        for number, command in enumerate(report.get("commands") or ())
    ]
