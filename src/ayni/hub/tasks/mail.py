"""The mail at the end of a task or array, in the reader's language."""

from __future__ import annotations

from typing import Any

from django.urls import reverse

_WORDS = {
    "es": {
        "task": "La tarea {name} terminó: {state}",
        "array": "El lote {name} terminó: {done} de {size} tareas completas",
        "project": "Proyecto: {project}",
        "reason": "Motivo: {reason}",
        "counts": "Tareas por estado: {counts}",
        "more": "Más: {url}",
    },
    "pt": {
        "task": "A tarefa {name} terminou: {state}",
        "array": "O lote {name} terminou: {done} de {size} tarefas completas",
        "project": "Projeto: {project}",
        "reason": "Motivo: {reason}",
        "counts": "Tarefas por estado: {counts}",
        "more": "Mais: {url}",
    },
    "en": {
        "task": "Task {name} ended: {state}",
        "array": "Array {name} ended: {done} of {size} tasks complete",
        "project": "Project: {project}",
        "reason": "Reason: {reason}",
        "counts": "Tasks by state: {counts}",
        "more": "More: {url}",
    },
}


def write(event: dict[str, Any], language: str) -> tuple[str, str]:
    """Subject and text of the mail about an event of `notices.event_of`."""
    words = _WORDS.get(language[:2], _WORDS["es"])
    name = " ".join(f"{event['name'] or ''} ({event['id']})".split())  # a subject is one line
    lines = [words["project"].format(project=event["project"])]
    if event["event"] == "task.ended":
        subject = words["task"].format(name=name, state=event["state"])
        if event["reason"]:
            lines.append(words["reason"].format(reason=event["reason"]["message"]))
        page = "portal:task"
    else:
        done = event["counts"].get("COMPLETE", 0)
        subject = words["array"].format(name=name, done=done, size=event["size"])
        counts = ", ".join(f"{state} {n}" for state, n in sorted(event["counts"].items()))
        lines.append(words["counts"].format(counts=counts))
        page = "portal:array"
    address = event["hub"] + reverse(page, args=[event["id"]])
    lines.append(words["more"].format(url=address))
    return subject, "\n".join([subject, "", *lines, ""])
