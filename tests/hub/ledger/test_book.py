"""Booking: once, and then as the scheduler's own accounts say."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from ayni.hub.ledger.book import Entry, book
from ayni.hub.ledger.models import UsageRecord
from ayni.hub.network.peer import Peer, read
from ayni.protocol.attempts import AttemptState
from ayni.protocol.messages import AllocationReport, UsageReport
from tests.hub import factories
from tests.hub.network.simulated import tasks

NOW = datetime(2026, 5, 1, tzinfo=UTC)
MEASURED = UsageReport(job="a", cores=2, wall=10.0, cpu=5.0, peak_memory=7, queue_wait=3.0)
GIVEN = AllocationReport(
    job="1000001_3", submitted=1.0, core_seconds=33.0, node_seconds=16.5, memory_seconds=1e9
)
ALLOCATED = MEASURED.model_copy(update={"allocation": GIVEN})


@pytest.fixture
def told(db: None) -> tuple[Peer, int, int]:
    site = factories.site()
    project = factories.project(factories.institution(factories.member("CO")))
    (task,) = tasks(project, 1)
    made = factories.attempt(task, site, AttemptState.COMPLETE)
    peer = read(site.id)
    assert peer is not None
    return peer, made.id, project.id


def tell(told: tuple[Peer, int, int], usage: UsageReport) -> UsageRecord:
    site, attempt, project = told
    book(site, [Entry(attempt, project, usage, NOW)])
    return UsageRecord.objects.get(attempt=attempt)


def test_what_was_measured_is_booked_once(told: tuple[Peer, int, int]) -> None:
    first = tell(told, MEASURED)
    assert (first.core_seconds, first.node_seconds, first.allocated) == (20.0, 10.0, False)
    again = tell(told, MEASURED.model_copy(update={"wall": 99.0}))
    assert again.core_seconds == 20.0


def test_what_the_accounts_say_was_allocated_takes_its_place(told: tuple[Peer, int, int]) -> None:
    tell(told, MEASURED)
    found = tell(told, ALLOCATED)
    assert (found.core_seconds, found.node_seconds, found.memory_seconds) == (33.0, 16.5, 1e9)
    assert (found.job, found.submitted, found.allocated) == (
        "1000001_3", datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC), True,
    )  # fmt: skip
    assert (found.wall, found.cpu, found.queue_wait) == (10.0, 5.0, 3.0), "as measured"


def test_a_late_measurement_does_not_undo_the_accounts(told: tuple[Peer, int, int]) -> None:
    tell(told, ALLOCATED)
    assert tell(told, MEASURED).core_seconds == 33.0


def test_what_the_accounts_correct_is_corrected(told: tuple[Peer, int, int]) -> None:
    tell(told, ALLOCATED)
    more = GIVEN.model_copy(update={"core_seconds": 40.0})
    assert tell(told, MEASURED.model_copy(update={"allocation": more})).core_seconds == 40.0
