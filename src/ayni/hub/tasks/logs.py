"""What a command printed: the tail that travelled with the site's reports, and where the whole is."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.utils import timezone

from ayni.hub.catalogue.models import Dataset, Release
from ayni.hub.network import wake
from ayni.hub.store.models import File
from ayni.hub.store.paths import log_path
from ayni.hub.tasks import ids
from ayni.hub.tasks.life import FINAL, TaskState
from ayni.hub.tasks.models import Attempt, Task
from ayni.protocol.attempts import LIVE
from ayni.protocol.policy import Reason
from ayni.tes.urls import AyniUrl

WATCHED = timedelta(seconds=60)
_LIVE = [state.value for state in LIVE]


def read_log(task: Task, command: int, stream: str, number: int | None = None) -> dict[str, Any]:
    """The end of one log of the task's attempt `number`, or of its latest."""
    attempts = Attempt.objects.filter(task=task).order_by("-number")
    attempt = attempts.filter(number=number).first() if number else attempts.first()
    report = (attempt.report if attempt else None) or {}
    entry = next(
        (e for e in report.get("logs", ()) if (e["command"], e["stream"]) == (command, stream)),
        None,
    )
    over = TaskState(task.state) in FINAL or (number is not None and attempt is not None)
    ended = over and (attempt is None or attempt.state not in _LIVE)
    text: str = entry["tail"] if entry else ""
    size: int = entry["size"] if entry else 0
    return {
        "text": text,
        "offset": max(0, size - len(text.encode())),
        "size": size,
        "ended": ended,
        "full": _full(task, command, stream) if ended else None,
        "withheld": None if text else _withheld(task, ended),
    }


def watch(task: Task) -> None:
    """Somebody reads: the site sends what comes at once, for a minute."""
    now = timezone.now()
    if TaskState(task.state) in FINAL or (task.watched_until or now) > now + WATCHED / 2:
        return
    Task.objects.filter(pk=task.pk).update(watched_until=now + WATCHED)
    sites = Attempt.objects.filter(task=task, live=True, superseded=False)
    wake.site(*sites.values_list("site_id", flat=True))


def _full(task: Task, command: int, stream: str) -> str | None:
    path = log_path(ids.show(task.pk), command, stream)
    if File.objects.filter(project=task.project_id, path=path).exists():
        return str(AyniUrl(task.project.name, path))
    return None


def _withheld(task: Task, ended: bool) -> dict[str, Any] | None:
    """Why there is nothing to read, where a dataset's release is the reason."""
    for site, name in task.group.datasets:
        dataset = Dataset.objects.filter(site__name=site, name=name).first()
        release = dataset.release if dataset else Release.NOTHING
        if release == Release.NOTHING:
            return _reason(name, f"nothing of dataset {name} may leave {site}: its logs stay there")
        if release == Release.AGGREGATE and not ended:
            return _reason(name, f"of dataset {name} only aggregates may leave {site}, at the end")
    return None


def _reason(name: str, message: str) -> dict[str, Any]:
    return Reason(code="release", message=message, parameters={"dataset": name}).model_dump()
