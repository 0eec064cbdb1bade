"""Telling somebody that a task or an array has ended: by mail or by webhook, with retries.

`tasks.ending` makes notices due. A sender takes each for a while before it sends it, so that two senders
do not; one that dies in between is followed by another: a notice may come twice, never not at all.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import smtplib
from datetime import datetime, timedelta
from typing import Any

import orjson
from django.conf import settings
from django.core.mail import EmailMessage
from django.utils import timezone

from ayni.hub.accounts.models import Person
from ayni.hub.calls.models import Project
from ayni.hub.tasks import ids, mail, webhook
from ayni.hub.tasks.life import SHOWN, TaskState
from ayni.hub.tasks.models import Array, Notice, Task
from ayni.tes.views import rfc3339

log = logging.getLogger(__name__)

TAKEN = timedelta(minutes=5)  # a notice that is being sent
#: After so many minutes it is tried again; then it is given up.
RETRIES = (1, 5, 30, 120, 720)
_RELATED = ("task__project", "task__person", "array__project", "array__person")


def send_due(now: datetime | None = None, limit: int = 100) -> int:
    """Send what is due; how many were delivered. Failures are noted and tried again later."""
    now = now or timezone.now()
    due = Notice.objects.filter(due__lte=now, sent=None).select_related(*_RELATED)
    return sum(_send(notice, now) for notice in due.order_by("due")[:limit])


def webhook_key(project: Project) -> str:
    """What the project's webhooks are signed with; the project's people read it at `GET /me`."""
    secret = settings.SECRET_KEY.encode()
    return hmac.new(secret, f"webhook of {project.name}".encode(), hashlib.sha256).hexdigest()


def event_of(notice: Notice) -> dict[str, Any]:
    """What is told."""
    subject = _subject(notice)
    told = {
        "id": ids.show(subject.pk),
        "name": subject.name,
        "project": subject.project.name,
        "hub": settings.HUB_URL,
        "created": rfc3339(subject.created),
        "ended": rfc3339(subject.ended) if subject.ended else None,
    }
    if isinstance(subject, Task):
        state = SHOWN[TaskState(subject.state)].value
        return told | {"event": "task.ended", "state": state, "reason": subject.reason}
    return told | {"event": "array.ended", "size": subject.size, "counts": subject.counts or {}}


def _subject(notice: Notice) -> Task | Array:
    subject = notice.task or notice.array
    assert subject is not None
    return subject


def _send(notice: Notice, now: datetime) -> bool:
    mine = Notice.objects.filter(pk=notice.pk, due=notice.due, sent=None)
    if not mine.update(due=now + TAKEN):
        return False  # another sender has it
    notice.due = now + TAKEN
    try:
        _deliver(notice, now)
    except (webhook.WebhookError, smtplib.SMTPException, OSError) as error:
        _try_again(notice, now, str(error))
        return False
    Notice.objects.filter(pk=notice.pk).update(sent=timezone.now(), error="")
    return True


def _deliver(notice: Notice, now: datetime) -> None:
    event = event_of(notice)
    if notice.kind == "webhook":
        body = orjson.dumps(event)
        key = webhook_key(_subject(notice).project)
        webhook.send(notice.target, body, webhook.sign(key, body, int(now.timestamp())))
        return
    reader = Person.objects.filter(email__iexact=notice.target).first()
    subject, text = mail.write(event, reader.language if reader else "es")
    EmailMessage(subject, text, to=[notice.target]).send()


def _try_again(notice: Notice, now: datetime, error: str) -> None:
    tries = notice.tries + 1
    again = tries <= len(RETRIES)
    due = now + timedelta(minutes=RETRIES[tries - 1]) if again else None
    log.info("notice %s was not delivered (try %s): %s", notice.pk, tries, error)
    Notice.objects.filter(pk=notice.pk).update(
        tries=tries, due=due, error=error[:500] if again else f"given up: {error}"[:500]
    )
