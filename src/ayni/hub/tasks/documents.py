"""The documents of stored tasks as TES shows them, a page at a time in a handful of plain queries."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple, Protocol

import orjson

from ayni.hub.network.bulk import marks, parts, select
from ayni.hub.tasks import ids
from ayni.hub.tasks.life import SHOWN, TaskState
from ayni.protocol.attempts import AttemptState
from ayni.tes.arrays import expand
from ayni.tes.models import State, View
from ayni.tes.views import Document, rfc3339, show

_STATES: dict[int, State] = {state.value: shown for state, shown in SHOWN.items()}


@dataclass(frozen=True, slots=True)
class Line:
    """What of a task's row its document needs; `models.Task` has it too."""

    pk: int
    state: int
    array_id: int | None
    index: int | None
    parameters: Any
    reason: Any
    created: datetime
    tries: int


class AnyTask(Protocol):
    @property
    def pk(self) -> int: ...
    @property
    def state(self) -> int: ...
    @property
    def array_id(self) -> int | None: ...
    @property
    def index(self) -> int | None: ...
    @property
    def parameters(self) -> Any: ...
    @property
    def reason(self) -> Any: ...
    @property
    def created(self) -> datetime: ...
    @property
    def tries(self) -> int: ...


class AnyAttempt(Protocol):
    @property
    def state(self) -> str: ...
    @property
    def superseded(self) -> bool: ...
    @property
    def report(self) -> Any: ...


def documents(tasks: Sequence[AnyTask], view: View) -> list[Document]:
    """The tasks as `view` has them, in their order."""
    if view is View.MINIMAL:
        return [show(view, ids.show(t.pk), _STATES[t.state]) for t in tasks]
    submitted = submissions(tasks)
    logs = _logs(tasks)
    return [
        show(view, ids.show(t.pk), _STATES[t.state], submitted[t.pk], logs[t.pk], t.created)
        for t in tasks
    ]


_LINES = """
SELECT id, state, array_id, "index", parameters, reason, created, tries
FROM tasks_task WHERE id IN ({marks})
"""


def read_lines(numbers: Sequence[int]) -> list[Line]:
    """The tasks with these numbers, in their order; one that has gone is passed over."""
    found: dict[int, Line] = {}
    for part in parts(numbers):
        for pk, state, array, index, parameters, reason, created, tries in select(
            _LINES.format(marks=marks(part)), part
        ):
            found[pk] = Line(
                pk, state, array, index, _data(parameters), _data(reason), _time(created), tries
            )
    return [found[number] for number in numbers if number in found]


def how_many_fit(tasks: Sequence[AnyTask], size: int) -> int:
    """How many of the tasks, from the first, have documents of at most `size` characters together.

    One at least. An array of large tasks is small to keep and huge to show.
    """
    alone = [t.pk for t in tasks if t.array_id is None]
    arrays = list({t.array_id for t in tasks if t.array_id is not None})
    bodies = _numbers("SELECT task_id, LENGTH(document) FROM tasks_taskbody", "task_id", alone)
    templates = _numbers("SELECT id, LENGTH(template) FROM tasks_array", "id", arrays)
    reports = _numbers(
        "SELECT task_id, SUM(LENGTH(CAST(report AS TEXT))) FROM tasks_attempt",
        "task_id",
        [t.pk for t in tasks if t.tries],
        " GROUP BY task_id",
    )
    total = 0
    for count, task in enumerate(tasks):
        body = bodies.get(task.pk, 0) if task.array_id is None else templates[task.array_id]
        total += body + (reports.get(task.pk) or 0)
        if total > size:
            return max(1, count)
    return len(tasks)


def _numbers(query: str, column: str, wanted: list[int], end: str = "") -> dict[int, int]:
    return {
        key: number
        for part in parts(wanted)
        for key, number in select(f"{query} WHERE {column} IN ({marks(part)}){end}", part)
    }


def submissions(tasks: Sequence[AnyTask]) -> dict[int, Document]:
    """What was submitted, each task of an array expanded."""
    alone = [t.pk for t in tasks if t.array_id is None]
    found = _texts("SELECT task_id, document FROM tasks_taskbody WHERE task_id", alone)
    arrays = list({t.array_id for t in tasks if t.array_id is not None})
    templates = _texts("SELECT id, template FROM tasks_array WHERE id", arrays)
    for task in tasks:
        if task.array_id is not None:
            found[task.pk] = expand(templates[task.array_id], task.index or 0, task.parameters)
    return found


def _texts(query: str, numbers: Sequence[int]) -> dict[int, Document]:
    return {
        number: orjson.loads(text)
        for part in parts(numbers)
        for number, text in select(f"{query} IN ({marks(part)})", part)
    }


def _data(value: Any) -> Any:
    """JSON as a plain query gives it: text, or parsed."""
    return orjson.loads(value) if isinstance(value, str) else value


def _time(value: Any) -> Any:
    """A time as a plain query gives it: SQLite keeps text in UTC."""
    return datetime.fromisoformat(value).replace(tzinfo=UTC) if isinstance(value, str) else value


# --- logs -------------------------------------------------------------------------------------

_ATTEMPTS = """
SELECT a.task_id, a.id, s.name, a.partition, a.state, a.superseded, a.started, a.ended, a.report
FROM tasks_attempt a JOIN network_site s ON s.id = a.site_id
WHERE a.task_id IN ({marks}) ORDER BY a.task_id, a.number
"""


class Tried(NamedTuple):
    """What of an attempt's row its `tesTaskLog` needs."""

    pk: int
    site: str
    partition: str
    state: str
    superseded: bool
    started: Any
    ended: Any
    report: Any


def _logs(tasks: Sequence[AnyTask]) -> Mapping[int, list[Document]]:
    """A `tesTaskLog` for each attempt, and one for what ended without any."""
    logs: dict[int, list[Document]] = defaultdict(list)
    untried = (TaskState.WAITING.value, TaskState.QUEUED.value)
    for part in parts(t.pk for t in tasks if t.state not in untried or t.tries):
        for row in select(_ATTEMPTS.format(marks=marks(part)), part):
            logs[row[0]].append(task_log(Tried._make((*row[1:-1], _data(row[-1])))))
    for task in tasks:
        if task.reason is not None:
            _add(logs[task.pk], task.reason["message"])
    return logs


def _add(logs: list[Document], said: str) -> None:
    """Put the task's reason where a client looks for it."""
    if not logs:
        logs.append({"logs": [], "outputs": [], "system_logs": [said]})
    elif said not in logs[-1].get("system_logs", ()):
        logs[-1]["system_logs"] = [*logs[-1].get("system_logs", ()), said]


def task_log(tried: Tried) -> Document:
    """One attempt as a full `tesTaskLog`."""
    report: Document = tried.report or {}
    log: Document = {
        "logs": executor_logs(report),
        "outputs": [
            {"url": o["url"], "path": o["path"], "size_bytes": str(o["size"])}
            for o in accepted_outputs(tried)
        ],
        "metadata": {
            "attempt": ids.show(tried.pk),
            "site": tried.site,
            "partition": tried.partition,
            "host": report.get("host") or "",
            "state": tried.state,
        },
    }
    if tried.started is not None:
        log["start_time"] = rfc3339(_time(tried.started))
    if tried.ended is not None:
        log["end_time"] = rfc3339(_time(tried.ended))
    said = list(report.get("system_log") or [])
    if reason := report.get("reason"):
        said.append(reason["message"])
    if said:
        log["system_logs"] = said
    return log


def accepted_outputs(attempt: AnyAttempt) -> list[Document]:
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
