"""What is expected of an attempt's start is kept; its error is measured when it starts."""

from __future__ import annotations

import time
from datetime import datetime, timedelta

import pytest
from django.utils import timezone

from ayni.broker.foresight import Source
from ayni.hub.http import ProblemError
from ayni.hub.network import sites, waits
from ayni.hub.network.cycle import Broker
from ayni.hub.network.models import Wait
from ayni.hub.network.waits import WAIT_HALF_LIFE, Began
from ayni.hub.network.world import Loader
from ayni.hub.tasks.models import Attempt
from ayni.protocol.attempts import AttemptState
from ayni.protocol.messages import MAX_STARTS, Message, SiteStatus, StartStatus
from ayni.tes.size import Size
from tests.hub import factories
from tests.hub.network.simulated import Agent, partition, status, tasks

pytestmark = pytest.mark.django_db
SMALL = Size(1, 1, 0, 3600)
HOUR = 3600.0


def said(seconds: float, at_least: bool = False) -> StartStatus:
    """A scheduler's word for a small task."""
    return StartStatus(
        cores=1, memory=1, gpus=0, walltime=3600, at=time.time() + seconds, at_least=at_least
    )


def site(name: str = "andes", **offers: object) -> Agent:
    agent = Agent(factories.site(name=name), offers=status(partition(**offers)))  # type: ignore[arg-type]
    agent.sync()
    return agent


def started(agent: Agent, after: float) -> Attempt:
    """Place a task and let it start so many seconds later."""
    [task] = tasks(factories.project())
    assert Broker().cycle() == 1
    agent.settle()
    attempt = task.attempts.get()
    moment = attempt.assigned.timestamp() + after
    shown = next(a for a in agent.journal.live())
    agent.advance(shown, AttemptState.RUNNING, started=moment)
    agent.settle()
    attempt.refresh_from_db()
    return attempt


def wait(site: int, seconds: float, source: Source = Source.QUEUE, *, at: datetime) -> None:
    waits.learn(site, [Began("main", str(SMALL), source.value, seconds, 1.0)], at)


# --- from placing to start


def test_an_attempt_keeps_what_was_expected_and_its_start_tells_the_error() -> None:
    attempt = started(site(starts=[said(600.0)]), after=100.0)
    assert attempt.foreseen["source"] == "scheduler"
    assert attempt.foreseen["in"] == pytest.approx(600.0, abs=5.0)
    [learnt] = Wait.objects.all()
    assert (learnt.site_id, learnt.partition) == (attempt.site_id, "main")
    assert Size.read(learnt.size) == SMALL
    assert learnt.wait == pytest.approx(100.0)
    assert learnt.error == pytest.approx(500.0, abs=5.0)


def test_a_start_counts_once_however_often_it_is_told() -> None:
    agent = site()
    attempt = started(agent, after=3.0)
    [shown] = agent.journal.live()
    agent.advance(shown, AttemptState.COMPLETE)
    agent.settle()
    [learnt] = Wait.objects.all()
    assert (learnt.count, learnt.source) == (1, "free")
    assert learnt.site_id == attempt.site_id


def test_an_attempt_that_an_older_hub_made_tells_nothing() -> None:
    agent = site()
    [task] = tasks(factories.project())
    Broker().cycle()
    Attempt.objects.update(foreseen=None)
    agent.settle()
    [shown] = agent.journal.live()
    agent.advance(shown, AttemptState.RUNNING)
    agent.settle()
    assert task.attempts.get().started is not None
    assert not Wait.objects.exists()


def test_the_time_for_inputs_is_no_waiting() -> None:
    told = {"in": 60.0, "move": 100.0, "source": "queue", "size": str(SMALL)}
    now = timezone.now()
    found = waits.began("main", told, now, now + timedelta(seconds=170))
    assert (found.waited, found.error) == (70.0, 10.0)
    sooner = waits.began("main", told, now, now + timedelta(seconds=50))
    assert (sooner.waited, sooner.error) == (0.0, 60.0)


# --- what was learnt


def test_a_long_wait_counts_less_the_longer_ago_it_was() -> None:
    here, now = factories.site().pk, timezone.now()
    wait(here, 600.0, at=now)
    assert waits.lately(now.timestamp())[here, "main"].waited == {SMALL: 600.0}
    later = waits.lately(now.timestamp() + WAIT_HALF_LIFE)[here, "main"]
    assert later.waited == {SMALL: pytest.approx(300.0)}
    assert waits.lately(now.timestamp() + 20 * WAIT_HALF_LIFE) == {}


def test_the_waits_of_a_queue_are_expected_of_it_apart_from_starts_where_there_was_room() -> None:
    agent, now = site(), timezone.now()
    wait(agent.site.pk, 600.0, at=now)
    wait(agent.site.pk, 2.0, Source.FREE, at=now)
    [seen] = Loader().load(now.timestamp()).sites
    assert seen.waited == {"main": 600.0}
    assert seen.foresight["main"].waited == {SMALL: 600.0}
    assert seen.foresight["main"].at_once == 2.0


def test_the_newest_waits_count_most_and_the_first_in_full() -> None:
    here, now = factories.site().pk, timezone.now()
    for seconds in (100.0, 300.0):
        wait(here, seconds, at=now)
    assert Wait.objects.get().wait == 200.0
    for _ in range(50):
        wait(here, 1000.0, at=now)
    assert Wait.objects.get().wait == pytest.approx(1000.0, rel=0.01)


def test_sizes_that_nobody_asks_for_any_more_are_forgotten() -> None:
    here, now = factories.site().pk, timezone.now()
    wait(here, 1.0, at=now - timedelta(days=100))
    wait(here, 1.0, Source.FREE, at=now)
    waits.forget(now - waits.KEEP)
    assert Wait.objects.get().source == "free"


# --- what people see


def test_the_sites_errors_are_shown_in_all_and_by_how_the_start_was_known() -> None:
    agent, now = site(), timezone.now()
    assert sites.overview()[0]["foresight"] is None
    told = [Began("main", str(SMALL), "free", 1.0, 2.0)] * 3
    waits.learn(agent.site.pk, [*told, Began("main", str(SMALL), "scheduler", 1.0, 10.0)], now)
    assert sites.overview()[0]["foresight"] == {
        "error": 4.0,
        "count": 4,
        "by": {"free": {"error": 2.0, "count": 3}, "scheduler": {"error": 10.0, "count": 1}},
    }


# --- what a site says


def test_what_its_scheduler_says_reaches_the_broker() -> None:
    site(starts=[said(HOUR, at_least=True)])
    [seen] = Loader().load(time.time()).sites
    told = seen.foresight["main"].told[SMALL]
    assert told.seconds == pytest.approx(HOUR, abs=5.0)
    assert told.at_least


def test_a_moment_that_has_passed_is_now() -> None:
    site(starts=[said(-HOUR)])
    [seen] = Loader().load(time.time()).sites
    assert seen.foresight["main"].told[SMALL].seconds == 0.0


@pytest.mark.parametrize("field", ["cores", "memory", "gpus", "walltime"])
@pytest.mark.parametrize("value", [-1, 1 << 63])
def test_a_size_that_cannot_be_is_refused_by_name(field: str, value: int) -> None:
    odd = said(0.0).model_copy(update={field: value})
    agent = Agent(factories.site(), offers=status(partition(starts=[odd])))
    with pytest.raises(ProblemError) as caught:
        agent.sync()
    assert f"partitions.main.starts.{field}" in caught.value.detail


def test_a_partition_says_a_bounded_number_of_starts() -> None:
    assert len(partition(starts=[said(0.0)] * 100).starts) == MAX_STARTS


def test_a_status_of_one_version_back_has_no_starts() -> None:
    before = status(partition()).model_dump(mode="json")
    for told in before["partitions"]:
        del told["starts"]
    agent = Agent(factories.site(), offers=SiteStatus.model_validate(before))
    agent.sync()
    [seen] = Loader().load(time.time()).sites
    assert seen.foresight["main"].told == {}


def test_an_older_hub_passes_over_what_a_status_says_of_starts() -> None:
    class PartitionBefore(Message):
        name: str
        depth: int = 8

    told = partition(starts=[said(60.0)]).model_dump_json()
    assert PartitionBefore.model_validate_json(told) == PartitionBefore(name="main", depth=2)
