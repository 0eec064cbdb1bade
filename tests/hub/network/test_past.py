"""What the broker learns from usage."""

from __future__ import annotations

import time

import pytest
from django.utils import timezone

from ayni.broker.types import Settings
from ayni.hub.ledger.models import UsageRecord
from ayni.hub.network.usage import WAIT_HALF_LIFE, Past
from ayni.hub.network.world import Loader
from ayni.protocol.attempts import AttemptState
from tests.hub import factories
from tests.hub.network.simulated import Agent, tasks


@pytest.mark.django_db
def test_a_long_wait_counts_less_the_longer_ago_it_was() -> None:
    past, now = Past(Settings().usage_half_life), time.time()
    past.update(now)
    site = waited(600.0)
    past.update(now)
    assert past.queue_wait == {(site, "local"): 600.0}
    past.update(now + WAIT_HALF_LIFE)
    assert past.queue_wait[site, "local"] == pytest.approx(300.0)
    past.update(now + 20 * WAIT_HALF_LIFE)
    assert past.queue_wait[site, "local"] < 1.0


@pytest.mark.django_db
def test_the_waits_of_a_queue_are_expected_of_it() -> None:
    loader, now = Loader(Settings()), time.time()
    loader.load(now)
    waited(600.0)
    [site] = loader.load(now).sites
    assert site.waited == {"local": 600.0}


def waited(seconds: float) -> int:
    """A task that waited so long in a site's queue; the site."""
    site, project = factories.site(), factories.project()
    Agent(site).sync()
    [task] = tasks(project)
    attempt = factories.attempt(task, site, AttemptState.COMPLETE)
    UsageRecord.objects.create(
        attempt=attempt, project=project, site=site, giver=site.institution.member,
        receiver=project.institution.member, job="1", cores=1, wall=1.0, cpu=1.0, core_seconds=1.0,
        peak_memory=1, queue_wait=seconds, ended=timezone.now(),
    )  # fmt: skip
    return site.pk
