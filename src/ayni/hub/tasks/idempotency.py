"""`Idempotency-Key`: the same request sent again makes nothing and gets the same answer."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta

from pydantic import BaseModel

from ayni.hub.accounts.tokens import Caller
from ayni.hub.http import ProblemError
from ayni.hub.tasks.models import IdempotencyKey

KEPT = timedelta(days=7)


def digest_of(request: BaseModel) -> str:
    """What tells one request from another, however its JSON was written."""
    return hashlib.sha256(request.model_dump_json(exclude_defaults=True).encode()).hexdigest()


def made_before(who: Caller, key: str, digest: str) -> int | None:
    """What an earlier request with this key made; within a transaction.

    Raises:
        ProblemError: 422, the key was used for something else.
    """
    earlier = IdempotencyKey.objects.filter(project=who.project, person=who.person, key=key).first()
    if earlier is None:
        return None
    if earlier.digest != digest:
        raise ProblemError(
            422,
            "The key was used before",
            "Idempotency-Key: another request was sent with this key; choose a new one",
        )
    return earlier.made


def remember(who: Caller, key: str, digest: str, made: int, now: datetime) -> None:
    IdempotencyKey.objects.create(
        project=who.project, person=who.person, key=key, digest=digest, made=made, created=now
    )


def forget_old(now: datetime) -> int:
    """Drop keys older than `KEPT`; how many went."""
    return IdempotencyKey.objects.filter(created__lt=now - KEPT).delete()[0]
