"""A ban has effect at once, and at a site with its next sync."""

from __future__ import annotations

import pytest
from django.utils import timezone

from ayni.hub.calls.models import Project
from ayni.hub.network import bans
from ayni.hub.network.cycle import Broker
from ayni.hub.network.models import Site
from ayni.hub.tasks.life import TaskState
from ayni.hub.tasks.models import Attempt, Task
from ayni.protocol.attempts import AttemptState
from tests.hub import factories
from tests.hub.network.simulated import Agent, state, tasks

S, T = AttemptState, TaskState
pytestmark = pytest.mark.django_db


@pytest.fixture
def agent() -> Agent:
    agent = Agent(factories.site())
    agent.sync()
    return agent


@pytest.mark.parametrize("kind", ["person", "project"])
def test_tasks_of_the_banned_end_and_their_attempts_are_killed(agent: Agent, kind: str) -> None:
    mine = tasks(factories.project(), 12)
    other = tasks(factories.project())[0]
    Broker().cycle()
    agent.settle()
    row = getattr(mine[0], kind)
    type(row).objects.filter(pk=row.pk).update(banned_at=timezone.now(), banned_why="theft")
    assert bans.enforce() == 12
    assert {state(t) for t in mine} == {T.CANCELED}
    assert "theft" in Task.objects.get(id=mine[0].id).reason["message"]
    agent.settle()
    assert {a.task_id for a in Attempt.objects.filter(live=True)} <= {other.id}
    assert bans.enforce() == 0


def test_a_banned_project_is_not_placed(agent: Agent) -> None:
    project = factories.project()
    tasks(project)
    Project.objects.filter(id=project.id).update(banned_at=timezone.now())
    assert Broker().cycle() == 0


def test_what_a_banned_site_had_is_done_elsewhere(agent: Agent) -> None:
    [task] = tasks(factories.project())
    Broker().cycle()
    agent.settle()
    Site.objects.filter(id=agent.site.id).update(banned_at=timezone.now())
    assert bans.enforce() == 1
    other = Agent(factories.site())
    other.sync()
    Broker().cycle()
    assert Attempt.objects.get(task=task, live=True).site == other.site
