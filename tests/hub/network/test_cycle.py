"""The broker's cycle on the database: what it writes, keeps, asks back and gives up on."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from ayni.broker.types import Settings
from ayni.hub.ledger.models import UsageRecord
from ayni.hub.network import explain, lost, sites
from ayni.hub.network.cycle import Broker
from ayni.hub.network.models import Site
from ayni.hub.network.world import Loader
from ayni.hub.tasks import ids
from ayni.hub.tasks.life import TaskState
from ayni.hub.tasks.models import Attempt, Placement
from ayni.hub.tasks.why import why
from ayni.protocol import charters
from ayni.protocol.attempts import AttemptState
from ayni.protocol.charters import CharterStatus
from ayni.protocol.messages import MAX_WAIT, HealthNote
from ayni.protocol.policy import Hours, Policy, Window
from tests.hub import factories
from tests.hub.channels.support import channel
from tests.hub.network.simulated import Agent, partition, state, status, tasks

S, T = AttemptState, TaskState
pytestmark = pytest.mark.django_db


def site(name: str, *partitions: object, **offers: object) -> Agent:
    agent = Agent(factories.site(name=name), offers=status(*partitions, **offers))  # type: ignore[arg-type]
    agent.sync()
    return agent


def silence(agent: Agent, seconds: float) -> None:
    heard = timezone.now() - timedelta(seconds=seconds)
    Site.objects.filter(id=agent.site.id).update(last_seen=heard)


def test_tasks_are_placed_up_to_capacity_and_depth_and_no_further() -> None:
    agent = site("andes", partition(cores=4, depth=2))
    tasks(factories.project(), 20)
    broker = Broker()
    assert [broker.cycle() for _ in range(3)] == [6, 0, 0]
    agent.settle()
    assert broker.cycle() == 0  # accepted and waiting is as full as assigned


def test_a_site_has_at_most_as_many_as_its_inventory_may_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ayni.hub.network.world.MAX_LIVE", 3)
    site("andes", partition(cores=4))
    site("bravo", partition(cores=4), policy=Policy(max_tasks=1))
    tasks(factories.project(), 20)
    assert Broker().cycle() == 4


def test_room_that_comes_free_is_used() -> None:
    agent = site("andes", partition(cores=1, depth=0))
    tasks(factories.project(), 2)
    broker = Broker()
    broker.cycle()
    agent.settle()
    [attempt] = agent.journal.live()
    agent.advance(attempt, S.COMPLETE)
    agent.settle()
    assert broker.cycle() == 1


def test_the_reasons_name_every_site_and_a_repeated_decision_stays_one_row() -> None:
    site("andes", partition(cores=1, depth=0))
    site("bravo", policy=Policy(images=["other"]))
    factories.site(name="caribe")
    tasks(factories.project(), 3)
    for broker in (Broker(), Broker()):
        for _ in range(3):
            broker.cycle()
    rows = Placement.objects.order_by("id")
    assert [(r.site.name if r.site else None, r.count) for r in rows] == [("andes", 1), (None, 0)]
    reasons = {r["site"]: (r["verdict"], r["code"]) for r in rows[1].reasons}
    assert reasons == {
        "andes": ("full", "full"),
        "bravo": ("ineligible", "image"),
        "caribe": ("ineligible", "never"),
    }


def test_a_site_that_is_ill_closed_silent_or_draining_gets_nothing() -> None:
    site("andes", health=[HealthNote(code="disk", message="the disk is full")])
    site("bravo", policy=Policy(hours=[Hours(begin="00:00", end="00:00")]))
    silence(site("caribe"), 200)
    Site.objects.filter(id=site("darien").site.id).update(draining=True)
    [task] = tasks(factories.project())
    assert Broker().cycle() == 0
    factories.site(name="eolo")  # which has not said what it offers
    codes = [r.code for r in explain.why(task.group_id).reasons]
    assert codes == ["ill", "hours", "silent", "draining", "never"]
    told = [s["state"] for s in sites.overview()]
    assert told == ["ill", "closed", "silent", "draining", "never"]


def test_a_site_that_its_own_operator_drains_or_that_has_maintenance_gets_nothing() -> None:
    now = time.time()
    window = Window(begin=now + 600, end=now + 7200, why="new switches")
    site("andes", draining="moving")
    site("bravo", windows=[window])
    [task] = tasks(factories.project())
    assert Broker().cycle() == 0
    reasons = explain.why(task.group_id).reasons
    assert [r.code for r in reasons] == ["draining", "maintenance"]
    assert reasons[1].parameters["why"] == "new switches"
    assert "the task might not end before" in reasons[1].message
    [short] = tasks(factories.project(), walltime=300)
    assert Broker().cycle() == 1, "one that ends before is placed"
    assert Attempt.objects.get(task=short).site.name == "bravo"


def test_a_persons_tasks_are_not_sent_where_the_policy_denies_the_person() -> None:
    site("andes", policy=Policy(deny_persons=["ana@*"]))
    project = factories.project()
    [hers] = tasks(project, person=factories.person(email="ana@example.org"))
    [others] = tasks(project, person=factories.person())
    Broker().cycle()
    assert (state(hers), state(others)) == (T.QUEUED, T.PLACED)
    [reason] = explain.why(hers.group_id).reasons
    assert (reason.code, reason.message) == ("person", "refuses ana@example.org")


def test_a_warning_in_a_sites_health_keeps_no_work_away() -> None:
    site("andes", health=[HealthNote(code="limits", message="best effort")])
    tasks(factories.project())
    assert Broker().cycle() == 1


def test_projects_share_by_what_they_have_already() -> None:
    site("andes", partition(cores=4, depth=0))
    large, small = factories.project(), factories.project()
    tasks(large, 50)
    broker = Broker()
    assert broker.cycle() == 4
    Attempt.objects.update(live=False, state=S.COMPLETE.value)  # the room is free again …
    for attempt in Attempt.objects.select_related("site__institution"):
        member = attempt.site.institution.member
        UsageRecord.objects.create(
            attempt=attempt, project=large, site=attempt.site, giver=member, receiver=member, cores=1,
            wall=9000, cpu=9000, core_seconds=90_000, peak_memory=1, ended=timezone.now(),
        )  # fmt: skip
    mine = tasks(small, 4)
    broker.cycle()
    assert {state(t) for t in mine} == {T.PLACED}  # … and the small project's turn


def test_a_task_that_no_site_would_take_fails_after_a_day_with_the_reasons(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    site("andes", policy=Policy(images=["other"]))
    project = factories.project()
    [new] = tasks(project)
    with monkeypatch.context() as patch:
        patch.setattr(ids, "new", lambda _: ids.at(time.time() - 90_000))
        [old] = tasks(project)
    Broker().cycle()
    old.refresh_from_db()
    assert state(old) is T.SYSTEM_ERROR
    assert "andes has no image host" in old.reason["message"]
    assert state(new) is T.QUEUED


def test_waiting_attempts_are_asked_back_when_another_site_is_free() -> None:
    busy = site("andes", partition(cores=1, depth=5))
    tasks(factories.project(), 4)
    broker = Broker()
    broker.cycle()
    busy.settle()
    free = site("bravo", partition(cores=2, depth=0))
    Attempt.objects.update(assigned=timezone.now() - timedelta(seconds=100))
    assert broker.recall() == 2
    assert len(busy.sync().withdrawals) == 2
    busy.settle()
    assert broker.cycle() == 2
    assert len(free.sync().assignments) == 2
    assert broker.recall() == 0


def test_a_running_attempt_is_not_given_back() -> None:
    agent = site("andes")
    [task] = tasks(factories.project())
    Broker().cycle()
    agent.settle()
    [attempt] = agent.journal.live()
    Attempt.objects.update(withdraw=True)
    agent.advance(attempt, S.RUNNING)
    agent.settle()
    assert state(task) is T.RUNNING
    assert not Attempt.objects.get().withdraw


@pytest.mark.parametrize(
    ("walltime", "ran", "restartable", "limit"),
    [
        (3600, 0, False, 7200),
        (3600, 3000, False, 4200),
        (60, 600, False, 3600),
        (3600, 0, True, 180),
    ],
)
def test_a_silent_sites_attempt_is_kept_for_the_rest_of_its_walltime_and_an_hour(
    walltime: int, ran: float, restartable: bool, limit: float
) -> None:
    assert lost.lost_after(walltime, ran, restartable=restartable, settings=Settings()) == limit


def test_what_a_silent_site_had_is_tried_again_elsewhere_and_killed_when_it_comes_back() -> None:
    silent = site("andes")
    [task] = tasks(factories.project(), walltime=600)
    broker = Broker()
    broker.cycle()
    silent.settle()
    [attempt] = silent.journal.live()
    silent.advance(attempt, S.RUNNING)
    silent.settle()
    Attempt.objects.update(started=timezone.now() - timedelta(seconds=9000))
    silence(silent, 3000)
    assert lost.give_up_silent(Settings()) == 0
    silence(silent, 5000)
    assert lost.give_up_silent(Settings()) == 1
    other = site("bravo")
    broker.cycle()
    other.settle()
    assert state(task) is T.PLACED
    silent.settle()
    assert silent.journal.live() == []
    [second] = other.journal.live()
    other.advance(second, S.COMPLETE)
    other.settle()
    assert state(task) is T.COMPLETE


def test_a_site_that_fell_silent_before_it_could_be_told_of_a_task_does_not_keep_it() -> None:
    """It counts as well for a while yet, and is given tasks: by then its last question was answered."""
    gone = site("andes")
    told, untold = (tasks(factories.project(), max_attempts=1)[0] for _ in range(2))
    broker = Broker()
    broker.cycle()
    silence(gone, 80)
    assert lost.give_up_silent(Settings()) == 0, "it may still come"
    silence(gone, 100)
    for task, ago in ((told, 100 - MAX_WAIT), (untold, 30)):
        assigned = timezone.now() - timedelta(seconds=ago)
        Attempt.objects.filter(task=task).update(assigned=assigned)
    assert lost.give_up_silent(Settings()) == 1
    assert (state(told), state(untold)) == (T.PLACED, T.QUEUED)
    told.refresh_from_db()
    assert "andes, partition main, which has not been heard for" in why(told)["summary"]
    assert "was withdrawn: the site was never told of it" in why(untold)["summary"]
    other = site("bravo")
    broker.cycle()
    other.settle()
    gone.settle()
    assert [*gone.assigned] == [ids.show(Attempt.objects.get(task=told).id)]
    [second] = other.journal.live()
    other.advance(second, S.COMPLETE)
    other.settle()
    assert state(untold) is T.COMPLETE, "what was never told is no try"


def test_what_is_taken_back_though_its_site_was_told_is_ended_there_at_the_first_word() -> None:
    gone = site("andes")
    [task] = tasks(factories.project())
    Broker().cycle()
    gone.sync()
    [attempt] = gone.journal.live()
    silence(gone, 100)
    assert lost.give_up_silent(Settings()) == 1
    gone.settle()
    assert gone.journal.reports[attempt].state is S.CANCELED
    assert state(task) is T.QUEUED


def fail(agent: Agent) -> None:
    """The site fails what it has, as one whose disk has died."""
    agent.settle()
    for attempt in agent.journal.live():
        agent.advance(attempt, S.SYSTEM_ERROR)
    agent.settle()


def test_a_task_that_a_site_failed_is_tried_elsewhere_and_why_says_so() -> None:
    bad = site("andes", partition(cores=9))
    project = factories.project()
    [task] = tasks(project)
    broker = Broker()
    broker.cycle()
    fail(bad)
    good = site("bravo", partition(cores=1))
    reasons = {r.site: r.code for r in explain.why(task.group_id).reasons}
    assert reasons == {"andes": "failed", "bravo": "chosen"}
    broker.cycle()
    assert list(Attempt.objects.order_by("number").values_list("site__name", flat=True)) == [
        "andes",
        "bravo",
    ]
    kept = Placement.objects.get(group=task.group_id, site=good.site)
    assert [r["code"] for r in kept.reasons] == ["failed", "chosen"]


def test_a_task_that_a_site_failed_is_tried_there_again_if_there_is_no_other() -> None:
    bad = site("andes")
    [task] = tasks(factories.project())
    for _ in range(2):
        Broker().cycle()
        fail(bad)
    assert state(task) is T.QUEUED
    assert Attempt.objects.filter(site=bad.site).count() == 2


def test_of_a_groups_tasks_those_that_failed_change_places() -> None:
    agents = site("andes", partition(cores=2, depth=0)), site("bravo", partition(cores=2, depth=0))
    made = tasks(factories.project(), 4)
    broker = Broker()
    broker.cycle()
    for agent in agents:
        fail(agent)
    broker.cycle()
    for task in made:
        first, second = Attempt.objects.filter(task=task).order_by("number")
        assert first.site_id != second.site_id


def test_a_restart_of_the_hub_does_not_begin_a_hold_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hold lasts from when a task began to wait; what was there before waited since it was made."""
    now, before = time.time(), Loader()
    with monkeypatch.context() as patch:
        patch.setattr(ids, "new", lambda _: ids.at(now - 100))
        tasks(factories.project())
    [old] = before.load(now).groups
    assert before.load(now + 50).groups == [old]
    [same] = Loader().load(now + 50).groups
    assert same.oldest == old.oldest == pytest.approx(now - 100, abs=2)
    tasks(factories.project())
    assert sorted(g.oldest for g in before.load(now + 60).groups)[1] == now + 60


def test_a_cycle_costs_the_same_queries_for_ten_tasks_or_a_thousand() -> None:
    site("andes", partition(cores=1, depth=0))
    project = factories.project()
    tasks(project, 1)
    broker = Broker()
    broker.cycle()
    counts = []
    for more in (10, 1000):
        tasks(project, more)
        with CaptureQueriesContext(connection) as queries:
            broker.cycle()
        counts.append(len(queries))
    assert counts[1] <= counts[0] <= 14


def test_many_groups_have_their_turn_though_a_cycle_judges_only_some(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ayni.hub.network.world.MOST_GROUPS", 3)
    site("andes", partition(cores=1, depth=0))
    project = factories.project()
    for n in range(9):
        tasks(project, 1, cores=2, walltime=60 + n)  # which fit nowhere
    [fits] = tasks(project, 1)
    broker = Broker()
    for _ in range(4):
        broker.cycle()
    assert state(fits) is T.PLACED


def test_tasks_of_a_channel_with_a_charter_go_where_it_was_accepted() -> None:
    project = factories.project()
    text = "# Carta\n"
    channel(project, "up", charter=text)
    channel(project, "plain")

    def said(state: charters.State) -> list[CharterStatus]:
        digest = charters.digest(text)
        return [CharterStatus(project=project.name, digest=digest, state=state, at=1.0)]

    site("andes", charters=[])
    site("bravo", charters=said("refused"))
    caribe = site("caribe", partition(cores=9), charters=said("asked"))
    broker = Broker()

    def told_of(channels: str) -> dict[str, tuple[str, str]]:
        task = factories.task(project, resources={"backend_parameters": {"channels": channels}})
        assert broker.cycle() == 1
        last = Placement.objects.filter(group=task.group).order_by("last").last()
        assert last is not None
        return {r["site"]: (r["verdict"], r["code"]) for r in last.reasons}

    plain = told_of("plain")
    assert {code for _, code in plain.values()} <= {"chosen", "later", "turn"}
    found = told_of("plain,up")
    assert found["bravo"] == ("ineligible", "charter")
    assert ("chosen", "asked") in (found["andes"], found["caribe"])
    caribe.offers = caribe.offers.model_copy(update={"charters": said("accepted")})
    caribe.side.status_due = True
    caribe.sync()
    assert told_of("up:in") == {
        "andes": ("ineligible", "unaccepted"),
        "bravo": ("ineligible", "charter"),
        "caribe": ("chosen", "chosen"),
    }
