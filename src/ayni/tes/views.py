"""The three views of a task (TES 1.1, parameter `view`), over JSON-ready documents.

Unset fields are left out: old clients fail on fields that they do not know.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from ayni.tes.models import State, View

Document = dict[str, Any]


def show(
    view: View,
    id: str,
    state: State,
    document: Mapping[str, Any] | None = None,
    logs: Sequence[Document] = (),
    created: datetime | None = None,
) -> Document:
    """The task as `view` has it. `document` is what was submitted, `logs` are full `tesTaskLog`s."""
    answer: Document = {"id": id, "state": state.value}
    if view is View.MINIMAL:
        return answer
    answer |= document or {}
    if created is not None:
        answer["creation_time"] = rfc3339(created)
    if logs:
        answer["logs"] = list(logs)
    return answer if view is View.FULL else _basic(answer)


def rfc3339(moment: datetime | float) -> str:
    """A time, or Unix seconds, as RFC 3339 wants it: UTC, milliseconds."""
    if not isinstance(moment, datetime):
        moment = datetime.fromtimestamp(moment, UTC)
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _basic(task: Document) -> Document:
    """All but the contents of inputs, what commands printed, and the system's logs."""
    if "inputs" in task:
        task["inputs"] = [_without(one, "content") for one in task["inputs"]]
    if "logs" in task:
        task["logs"] = [_quiet(log) for log in task["logs"]]
    return task


def _quiet(log: Document) -> Document:
    log = _without(log, "system_logs")
    log["logs"] = [_without(one, "stdout", "stderr") for one in log["logs"]]
    return log


def _without(document: Document, *names: str) -> Document:
    return {k: v for k, v in document.items() if k not in names}
