"""The three views are ever smaller parts of one document."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from ayni.tes.models import State, View
from ayni.tes.views import rfc3339, show

DOCUMENT = {"name": "a", "inputs": [{"path": "/a", "content": "x", "type": "FILE"}]}
LOG = {
    "logs": [{"exit_code": 0, "stdout": "x", "stderr": "y"}],
    "outputs": [],
    "system_logs": ["z"],
    "metadata": {"site": "s"},
}
CREATED = datetime(2026, 1, 2, 3, 4, 5, 678_000, UTC)


def shown(view):
    return show(view, "t1", State.RUNNING, DOCUMENT, [LOG], CREATED)


def test_minimal_is_only_id_and_state():
    assert shown(View.MINIMAL) == {"id": "t1", "state": "RUNNING"}


def test_full_is_everything():
    assert shown(View.FULL) == {
        "id": "t1",
        "state": "RUNNING",
        **DOCUMENT,
        "creation_time": "2026-01-02T03:04:05.678Z",
        "logs": [LOG],
    }


def test_basic_lacks_contents_prints_and_system_logs_and_nothing_else():
    basic = shown(View.BASIC)
    assert basic["inputs"] == [{"path": "/a", "type": "FILE"}]
    assert basic["logs"] == [{"logs": [{"exit_code": 0}], "outputs": [], "metadata": {"site": "s"}}]
    assert basic.keys() == shown(View.FULL).keys()


def test_showing_changes_nothing_of_what_was_given():
    before = repr((DOCUMENT, LOG))
    for view in View:
        shown(view)
    assert repr((DOCUMENT, LOG)) == before


@pytest.mark.parametrize(
    "moment", [1_767_323_045.678, CREATED, CREATED.astimezone(timezone(timedelta(hours=-3)))]
)
def test_times_are_utc_in_rfc_3339(moment):
    assert rfc3339(moment) == "2026-01-02T03:04:05.678Z"
