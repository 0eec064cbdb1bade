"""What the broker's thread does beside placing tasks."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.sessions.models import Session
from django.utils import timezone

from ayni.hub.network.loop import Chore, Loop

pytestmark = pytest.mark.django_db


def chore(name: str) -> Chore:
    return next(c for c in Loop().chores if c.name == name)


def test_expired_sessions_are_forgotten_and_others_kept() -> None:
    now = timezone.now()
    for key, days in (("old", -1), ("new", 1)):
        Session.objects.create(
            session_key=key, session_data="", expire_date=now + timedelta(days=days)
        )
    chore("old sessions").run_if_due()
    assert [s.session_key for s in Session.objects.all()] == ["new"]


def test_a_chore_that_fails_is_tried_again_and_stops_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done: list[str] = []

    def work() -> None:
        done.append("tried")
        raise RuntimeError("broken")

    monkeypatch.setattr("ayni.hub.network.loop.connection.close", lambda: done.append("closed"))
    failing = Chore("failing", 0.0, work)
    failing.run_if_due()
    failing.run_if_due()
    assert done == ["tried", "closed"] * 2
