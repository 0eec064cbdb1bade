"""A chain: a link that is unfinished is followed once, at its site, and its task is one task all the way."""

from __future__ import annotations

from typing import Any

import pytest

from ayni.hub.ledger.models import UsageRecord
from ayni.hub.network import talk
from ayni.hub.network.cycle import Broker
from ayni.hub.tasks.cancel import cancel_tasks
from ayni.hub.tasks.life import TaskState
from ayni.hub.tasks.models import Refusal, Task
from ayni.hub.tasks.why import why
from ayni.protocol.attempts import AttemptState
from ayni.protocol.messages import VolumesOffer
from ayni.protocol.policy import Reason
from ayni.tes.volumes import Mount
from tests.hub import factories
from tests.hub.network.simulated import Agent, state, status, tasks

S, T = AttemptState, TaskState
pytestmark = pytest.mark.django_db
OFFER = VolumesOffer(quota=1 << 40, retention=86400)


@pytest.fixture
def agent() -> Agent:
    agent = Agent(factories.site(), offers=status(volumes=OFFER))
    agent.sync()
    return agent


def chained(agent: Agent, links: int = 3, **wants: Any) -> Task:
    [task] = tasks(
        factories.project(),
        volumes=(Mount("state", "/state"),),
        chain=links,
        site=agent.site.name,
        **wants,
    )
    return task


def begin(agent: Agent) -> Any:
    """Place the next link; its assignment."""
    before = set(agent.assigned)
    Broker().cycle()
    agent.settle()
    [attempt] = set(agent.assigned) - before
    return agent.assigned[attempt]


def end(agent: Agent, link: Any, how: AttemptState = S.UNFINISHED) -> None:
    agent.advance(link.attempt, how, reason=Reason(code="walltime", message="its time is over"))
    agent.settle()


def test_links_follow_one_another_and_are_numbered(agent: Agent) -> None:
    task = chained(agent)
    for number in (1, 2):
        link = begin(agent)
        assert (link.link, link.shape["chain"]) == (number, 3)
        end(agent, link)
        assert state(task) is T.QUEUED
    link = begin(agent)
    assert link.link == 3
    end(agent, link, S.COMPLETE)
    task.refresh_from_db()
    assert (state(task), task.links, task.attempts.count()) == (T.COMPLETE, 2, 3)
    assert UsageRecord.objects.count() == 3


def test_a_report_told_again_and_again_makes_one_link(agent: Agent) -> None:
    task = chained(agent)
    agent.advance(begin(agent).attempt, S.UNFINISHED)
    request = agent.ask()
    for _ in range(3):
        talk.sync(agent.site.id, request)
        Broker().cycle()
    agent.settle()
    task.refresh_from_db()
    assert (task.links, task.attempts.count()) == (1, 2)


def test_after_the_last_link_a_chain_has_failed(agent: Agent) -> None:
    """A site knows that itself; one that says otherwise is not believed."""
    task = chained(agent, 2)
    end(agent, begin(agent))
    end(agent, begin(agent))
    task.refresh_from_db()
    assert (state(task), task.links, task.reason["code"]) == (T.EXECUTOR_ERROR, 1, "walltime")


def test_a_task_that_is_no_chain_is_never_followed(agent: Agent) -> None:
    [task] = tasks(factories.project())
    end(agent, begin(agent))
    assert state(task) is T.EXECUTOR_ERROR


def test_each_link_has_all_of_its_tries(agent: Agent) -> None:
    task = chained(agent, max_attempts=2)
    end(agent, begin(agent), S.SYSTEM_ERROR)
    again = begin(agent)
    assert again.link == 1
    end(agent, again)
    end(agent, begin(agent), S.SYSTEM_ERROR)
    assert state(task) is T.QUEUED
    end(agent, begin(agent), S.SYSTEM_ERROR)
    assert state(task) is T.SYSTEM_ERROR


def test_a_chain_that_is_cancelled_while_a_link_ends_is_not_followed(agent: Agent) -> None:
    task = chained(agent)
    link = begin(agent)
    agent.advance(link.attempt, S.UNFINISHED)
    cancel_tasks([task.id], "enough")
    agent.settle()
    Broker().cycle()
    assert (state(task), task.attempts.count()) == (T.CANCELED, 1)


def test_why_says_which_link_it_is(agent: Agent) -> None:
    task = chained(agent)
    link = begin(agent)
    agent.advance(link.attempt, S.RUNNING)
    agent.settle()
    assert why(Task.objects.get(id=task.id))["summary"].endswith("(link 1 of 3)")
    end(agent, link)
    assert "link 2 of 3 is to go on at" in why(Task.objects.get(id=task.id))["summary"]


def test_a_site_that_gives_no_volumes_is_not_chosen(agent: Agent) -> None:
    agent.offers = status()
    agent.side.status_due = True
    agent.sync()
    task = chained(agent)
    Broker().cycle()
    assert state(task) is T.QUEUED
    [verdict] = why(task)["sites"]
    assert (verdict["code"], verdict["verdict"]) == ("volume", "ineligible")


def test_a_refusal_is_forgotten_when_the_site_gives_more_room(agent: Agent) -> None:
    task = chained(agent)
    agent.advance(begin(agent).attempt, S.REFUSED, reason=Reason(code="volume", message="no room"))
    agent.settle()
    assert Refusal.objects.exists()
    agent.offers = status(volumes=OFFER.model_copy(update={"quota": 1 << 41}))
    agent.side.status_due = True
    agent.sync()
    begin(agent)
    assert task.attempts.count() == 2


def test_a_project_that_is_full_waits_and_is_told_why(agent: Agent) -> None:
    task = chained(agent)
    agent.offers = status(volumes=OFFER.model_copy(update={"full": [task.project.name]}))
    agent.side.status_due = True
    agent.sync()
    Broker().cycle()
    assert state(task) is T.QUEUED
    assert "all that the site allows" in why(task)["sites"][0]["message"]
