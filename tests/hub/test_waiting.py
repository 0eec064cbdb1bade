"""Who may wait for an answer, and how many at once."""

from __future__ import annotations

import pytest

from ayni.hub.http import ProblemError
from ayni.hub.tasks import waiting
from ayni.hub.tasks.waiting import look_until

from .conftest import API, TES

TASK = {"executors": [{"image": "host", "command": ["true"]}]}


def test_only_so_many_of_a_project_and_of_all_wait_at_once(monkeypatch):
    monkeypatch.setattr(waiting, "MOST_OF_A_PROJECT", 1)
    monkeypatch.setattr(waiting, "MOST", 2)
    with waiting._seat(1):
        with pytest.raises(ProblemError) as told:
            look_until(1, 5, lambda: "old", lambda _: False)
        assert told.value.status == 429
        assert told.value.headers["Retry-After"] == "5"
        assert look_until(1, 5, lambda: "news", lambda _: True) == "news"
        assert look_until(1, 0, lambda: "old", lambda _: False) == "old"
        with waiting._seat(2), pytest.raises(ProblemError):
            look_until(3, 5, lambda: "old", lambda _: False)
        assert look_until(2, 0.01, lambda: "old", lambda _: False) == "old"
    assert look_until(1, 0.01, lambda: "old", lambda _: False) == "old"
    assert not waiting._waiting


def test_who_finds_no_place_is_told_when_to_ask_again(api, monkeypatch):
    monkeypatch.setattr(waiting, "MOST", 0)
    number = api.post(f"{TES}/tasks", TASK).json()["id"]
    answer = api.get(f"{API}/tasks/{number}", {"wait": "5", "seen": "QUEUED"})
    assert answer.status_code == 429
    assert answer["Retry-After"] == "5"
    assert "without 'wait'" in answer.json()["detail"]
    assert api.get(f"{API}/tasks/{number}", {"wait": "5", "seen": ""}).status_code == 200
