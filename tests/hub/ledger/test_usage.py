"""`GET /api/v1/usage`: what a project was given, by site."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from ayni.hub.accounts.models import Institution
from ayni.hub.calls.models import Project
from ayni.hub.ledger.models import UsageRecord
from ayni.hub.network.models import Site
from ayni.hub.tasks.models import Refusal, Task
from ayni.protocol.attempts import AttemptState
from tests.hub import factories
from tests.hub.network.simulated import tasks


def ran(task: Task, at: Site, state: AttemptState, seconds: float) -> None:
    """An attempt on two cores that has ended, its usage booked."""
    made = factories.attempt(task, at, state)
    UsageRecord.objects.create(
        attempt=made, project=task.project, site=at, giver=at.institution.member,
        receiver=task.project.institution.member, job="1", cores=2, wall=seconds, cpu=seconds,
        core_seconds=2 * seconds, peak_memory=1, ended=timezone.now(),
    )  # fmt: skip


@pytest.fixture
def here() -> Institution:
    return factories.institution(factories.member("CO"))


@pytest.fixture
def project(here: Institution) -> Project:
    return factories.project(here)


def usage(client: Client, project: Project) -> dict[str, dict[str, Any]]:
    secret = factories.token(a_project=project)
    answer = client.get("/api/v1/usage", headers=factories.auth(secret))
    assert answer.status_code == 200
    return {row["site"]: row for row in answer.json()["sites"]}


@pytest.mark.django_db
def test_hours_refusals_and_retries_are_summed_by_site(client: Client, project: Project) -> None:
    given, other = factories.site(), factories.site(factories.institution(factories.member("MX")))
    first, second = tasks(project, 2)
    ran(first, given, AttemptState.SYSTEM_ERROR, 1800)
    ran(first, other, AttemptState.COMPLETE, 900)
    ran(second, given, AttemptState.COMPLETE, 1800)
    Refusal.objects.create(group=first.group, site=other, reason={}, at=timezone.now())
    found = usage(client, project)
    assert found[given.name] == {
        "site": given.name, "giver": "CL", "receiver": "CO", "attempts": 2, "core_hours": 2.0,
        "cpu_hours": 1.0, "refusals": 0, "retries": 1,
    }  # fmt: skip
    assert found[other.name] == {
        "site": other.name, "giver": "MX", "receiver": "CO", "attempts": 1, "core_hours": 0.5,
        "cpu_hours": 0.25, "refusals": 1, "retries": 0,
    }  # fmt: skip


@pytest.mark.django_db
def test_another_projects_hours_are_not_seen(client: Client, project: Project) -> None:
    [task] = tasks(factories.project())
    ran(task, factories.site(), AttemptState.COMPLETE, 3600)
    assert usage(client, project) == {}


@pytest.mark.django_db
def test_a_site_that_only_refused_or_lost_is_told_of_too(client: Client, project: Project) -> None:
    refuses, loses = factories.site(), factories.site()
    [task] = tasks(project)
    Refusal.objects.create(group=task.group, site=refuses, reason={}, at=timezone.now())
    factories.attempt(task, loses, AttemptState.LOST)
    found = usage(client, project)
    assert {name: (row["refusals"], row["retries"]) for name, row in found.items()} == {
        refuses.name: (1, 0),
        loses.name: (0, 1),
    }
    nothing = {"giver": "CL", "receiver": "CO", "attempts": 0, "core_hours": 0.0, "cpu_hours": 0.0}
    assert all(nothing.items() <= row.items() for row in found.values())
