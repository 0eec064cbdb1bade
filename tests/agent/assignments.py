"""Assignments and reports for the agent's tests."""

from __future__ import annotations

import json
from typing import Any

from ayni.agent.journal import Entry
from ayni.protocol.attempts import AttemptState
from ayni.protocol.messages import Assignment, Report
from ayni.protocol.policy import Who
from ayni.tes.models import Task, document
from ayni.tes.shape import shape_of

WHO = Who(
    name="Gabriela Mistral",
    email="gabriela@example.cl",
    institution="Universidad de Chile",
    project="poesia",
    member="CL",
)


def assignment(attempt: str, command: list[str] | None = None, **task: Any) -> Assignment:
    """One attempt of a task that runs `command` (`true` by default) on image `host`."""
    parsed = Task.model_validate(
        {"executors": [{"image": "host", "command": command or ["true"]}], **task}
    )
    return Assignment(
        attempt=attempt,
        task_id=f"t-{attempt}",
        number=1,
        task=document(parsed),
        shape=json.loads(json.dumps(shape_of(parsed).to_json())),
        partition="local",
        who=WHO,
    )


def entry(attempt: str, state: AttemptState = AttemptState.ACCEPTED) -> Entry:
    return Entry(assignment(attempt), Report(attempt=attempt, seq=0, state=state, accepted=1.0))
