"""Many rows in one statement: the same is written on every database."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from ayni.hub.network import bulk
from ayni.hub.network.cycle import Broker
from ayni.hub.tasks.models import Attempt, Refusal
from ayni.protocol.attempts import AttemptState
from tests.hub import factories
from tests.hub.network.simulated import Agent, tasks

pytestmark = pytest.mark.django_db
EARLY, LATE = datetime(2026, 1, 1, 1, 2, 3, 456789, UTC), datetime(2999, 1, 1, tzinfo=UTC)
UPDATE = bulk.Update(
    "tasks_attempt",
    {"state": "text", "seq": "bigint", "started": "timestamptz", "report": "jsonb"},
    keep={"started", "report"},
)
REFUSE = bulk.Insert(
    "tasks_refusal",
    {"group_id": "bigint", "site_id": "bigint", "reason": "jsonb", "at": "timestamptz"},
    "ON CONFLICT (group_id, site_id) DO UPDATE SET reason = excluded.reason",
)


@pytest.fixture
def attempts() -> list[Attempt]:
    Agent(factories.site()).sync()
    tasks(factories.project(), 2)
    Broker().cycle()
    return list(Attempt.objects.order_by("id"))


def test_an_update_sets_each_row_and_keeps_what_it_shall_keep(attempts: list[Attempt]) -> None:
    a, b = attempts
    report = {"host": "ñandú 'q\" \\ %s", "size": 1 << 60, "none": None}
    UPDATE(
        [["running", 7, EARLY, json.dumps(report), a.id], ["pending", 1 << 62, LATE, None, b.id]]
    )
    UPDATE([["complete", 8, None, None, a.id]])
    a.refresh_from_db()
    b.refresh_from_db()
    assert (a.state, a.seq, a.started, a.report) == (AttemptState.COMPLETE, 8, EARLY, report)
    assert (b.state, b.seq, b.started, b.report) == (AttemptState.PENDING, 1 << 62, LATE, None)


def test_an_insert_makes_rows_and_minds_what_is_there(attempts: list[Attempt]) -> None:
    group, site = attempts[0].task.group_id, attempts[0].site_id
    for code in ("one", "two"):
        REFUSE([[group, site, json.dumps({"code": code}), EARLY]])
    refusal = Refusal.objects.get()
    assert (refusal.reason, refusal.at) == ({"code": "two"}, EARLY)


def test_no_rows_are_no_statement(django_assert_num_queries: object) -> None:
    with django_assert_num_queries(0):  # type: ignore[operator]
        UPDATE([])
        REFUSE([])


@pytest.mark.parametrize("count", [0, 2])
def test_rows_are_found_by_a_list_of_numbers(attempts: list[Attempt], count: int) -> None:
    wanted = [a.id for a in attempts][:count]
    sql = f"SELECT id FROM tasks_attempt WHERE {bulk.among('id')} ORDER BY id"
    assert [row[0] for row in bulk.select(sql, [bulk.these(wanted)])] == wanted
