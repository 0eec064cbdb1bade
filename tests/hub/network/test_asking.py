"""Operators learn of the charters of what their sites might run, and of no others."""

from __future__ import annotations

import time

import pytest

from ayni.hub.calls.models import Project
from ayni.hub.channels.models import Asking
from ayni.hub.network import asking, talk
from ayni.hub.network.cycle import Broker
from ayni.hub.network.models import Site
from ayni.hub.network.world import Loader
from ayni.hub.tasks.models import Task
from ayni.protocol import charters
from ayni.protocol.attempts import AttemptState
from ayni.protocol.charters import CharterQuestion, CharterStatus
from ayni.protocol.policy import Policy
from tests.hub import factories
from tests.hub.channels.support import channel
from tests.hub.network.simulated import Agent, partition, status

pytestmark = pytest.mark.django_db
TEXT = "# Carta\n"


def site(name: str, *partitions: object, **offers: object) -> Agent:
    offers.setdefault("charters", [])
    agent = Agent(factories.site(name=name), offers=status(*partitions, **offers))  # type: ignore[arg-type]
    agent.sync()
    return agent


def task(project: Project, channels: str = "up,down", **parameters: str) -> Task:
    return factories.task(
        project, resources={"backend_parameters": {"channels": channels, **parameters}}
    )


@pytest.fixture
def project() -> Project:
    project = factories.project()
    for name, text in (("up", TEXT), ("down", TEXT), ("other", "# Otra\n"), ("plain", "")):
        channel(project, name, charter=text)
    return project


def refresh() -> None:
    asking.refresh(Loader(), time.time())


def asked(agent: Agent) -> list[CharterQuestion]:
    return agent.sync().charters


def say(agent: Agent, project: Project, state: charters.State, text: str = TEXT) -> None:
    """What its operator has said, or that the agent has the text."""
    said = CharterStatus(project=project.name, digest=charters.digest(text), state=state, at=1.0)
    before = [one for one in agent.offers.charters or () if one.digest != said.digest]
    agent.offers = agent.offers.model_copy(update={"charters": [*before, said]})
    agent.side.status_due = True
    agent.sync()


def test_every_site_that_might_run_what_waits_is_asked_also_one_that_is_full_or_closed(
    project: Project,
) -> None:
    sites = [
        site("andes"),
        site("bravo", partition(cores=1, depth=0, foreign_cores=1)),
        site("caribe", policy=Policy(hours=[])),
    ]
    made = task(project)
    refresh()
    for agent in sites:
        [one] = asked(agent)
        assert (one.project, one.channels, one.text) == (project.name, ["up", "down"], TEXT)
        assert one.person == made.person.email
        assert abs(one.since - made.created.timestamp()) < 1


def test_a_site_that_would_never_run_it_learns_nothing(project: Project) -> None:
    named = site("andes")
    others = [
        site("bravo", policy=Policy(deny_projects=[project.name])),
        site("caribe", policy=Policy(projects=["another"])),
        site("delta", policy=Policy(channels=[])),
        site("eco", policy=Policy(members=["XX"])),
        site("foca", charters=None),  # an older agent
        site("golfo"),  # the task names another
    ]
    banned = site("hielo")
    Site.objects.filter(id=banned.site.id).update(banned_at="2026-01-01T00:00Z")
    task(project, site="andes")
    task(project, "plain")
    refresh()
    assert [len(asked(agent)) for agent in others] == [0] * len(others)
    assert [row.site_id for row in Asking.objects.all()] == [named.site.id] * 2
    assert [one.text for one in asked(named)] == [TEXT]


def test_a_text_is_sent_until_the_agent_has_it_and_again_if_it_has_lost_it(
    project: Project,
) -> None:
    agent = site("andes")
    task(project)
    refresh()
    assert len(asked(agent)) == len(asked(agent)) == 1
    say(agent, project, "asked")
    assert asked(agent) == []
    refresh()
    assert asked(agent) == [], "it still waits, and the agent knows"
    assert Asking.objects.count() == 2
    agent.offers = agent.offers.model_copy(update={"charters": []})
    agent.side.status_due = True
    agent.sync()
    assert len(asked(agent)) == 1
    say(agent, project, "accepted")
    refresh()
    assert not Asking.objects.exists()


def test_who_has_refused_is_not_asked_again(project: Project) -> None:
    agent = site("andes")
    task(project, "up,other")
    refresh()
    assert {one.text for one in asked(agent)} == {TEXT, "# Otra\n"}
    say(agent, project, "refused")
    refresh()
    assert not Asking.objects.exists() and asked(agent) == []


def test_one_is_asked_for_what_waits_at_another_and_not_for_what_runs_or_ended(
    project: Project,
) -> None:
    one, two = site("andes"), site("bravo", partition(cores=1, depth=0, foreign_cores=1))
    task(project)
    assert Broker().cycle() == 1
    one.settle()
    refresh()
    assert len(asked(two)) == 1, "its operator may be the first to accept"
    [attempt] = one.journal.live()
    one.advance(attempt, AttemptState.RUNNING)
    one.settle()
    refresh()
    assert not Asking.objects.exists() and asked(two) == []


def test_a_channel_that_is_deleted_asks_nobody(project: Project) -> None:
    agent = site("andes")
    task(project)
    refresh()
    project.channels.all().delete()
    assert asked(agent) == []
    refresh()


def test_what_a_site_is_asked_at_once_is_bounded(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "MOST", 5)
    monkeypatch.setattr(asking, "MOST_OF_PROJECT", 3)
    agent, other = site("andes"), factories.project()
    for n in range(4):
        for of in (project, other):
            channel(of, f"c{n}", charter=f"{n}")
            task(of, f"c{n}")
    refresh()
    rows = Asking.objects.order_by("id")
    before = list(rows.values_list("channel", flat=True))
    assert len(before) == 5
    assert rows.filter(channel__project=project).count() == 3
    assert len(asked(agent)) == charters.MAX_QUESTIONS
    refresh()
    assert list(rows.values_list("channel", flat=True)) == before
    say(agent, project, "accepted", "0")
    refresh()
    assert rows.filter(channel__project=other, channel__name="c2").exists(), "who waits longest"
    assert rows.count() == 5


def test_a_held_request_is_answered_as_soon_as_there_is_a_question(project: Project) -> None:
    agent = site("andes")
    request = agent.ask(wait=20.0)
    before = talk.sync(agent.site.id, request)
    assert before.hold == float("inf")
    task(project)
    refresh()
    news = talk.look_again(agent.site.id, request, before.reply)
    assert news is not None and len(news.charters) == 1
    agent.listen(news)
    assert talk.sync(agent.site.id, agent.ask(wait=20.0)).hold == talk.REPEAT_CHARTERS
