"""What a site's reports do to attempts and tasks, and what the site is told."""

from __future__ import annotations

import pytest
from django.utils import timezone

from ayni.hub.http import ProblemError
from ayni.hub.ledger.models import UsageRecord
from ayni.hub.network import talk
from ayni.hub.network.cycle import Broker
from ayni.hub.network.models import Site
from ayni.hub.tasks import ids
from ayni.hub.tasks.life import TaskState
from ayni.hub.tasks.models import Attempt, Refusal, Task
from ayni.protocol.attempts import AttemptState
from ayni.protocol.policy import Policy, Reason
from tests.hub import factories
from tests.hub.network.simulated import Agent, partition, state, status, tasks

S, T = AttemptState, TaskState
pytestmark = pytest.mark.django_db


@pytest.fixture
def agent() -> Agent:
    agent = Agent(factories.site())
    agent.sync()
    return agent


def placed(agent: Agent, count: int = 1, **wants: object) -> tuple[list[Task], list[str]]:
    """Tasks that the agent has accepted, with their attempts in order."""
    made = tasks(factories.project(), count, **wants)
    Broker().cycle()
    agent.settle()
    return made, sorted(agent.assigned)


def test_a_placed_task_reaches_the_agent_with_its_document_shape_and_human(agent: Agent) -> None:
    [task], [attempt] = placed(agent, cores=2)
    told = agent.assigned[attempt]
    assert told.task["executors"][0]["command"] == ["true"]
    assert told.shape["cores"] == 2
    assert told.who.email == task.person.email
    assert told.who.project == task.project.name
    assert told.task_id == ids.show(task.id)
    assert state(task) is T.PLACED


@pytest.mark.parametrize(
    ("attempt_state", "task_state"),
    [
        (S.INITIALIZING, T.INITIALIZING),
        (S.PENDING, T.INITIALIZING),
        (S.RUNNING, T.RUNNING),
        (S.FINALIZING, T.RUNNING),
        (S.COMPLETE, T.COMPLETE),
        (S.EXECUTOR_ERROR, T.EXECUTOR_ERROR),
        (S.SYSTEM_ERROR, T.QUEUED),
        (S.REFUSED, T.QUEUED),
        (S.WITHDRAWN, T.QUEUED),
        (S.LOST, T.QUEUED),
    ],
)
def test_a_task_follows_its_attempt(
    agent: Agent, attempt_state: AttemptState, task_state: TaskState
) -> None:
    [task], [attempt] = placed(agent)
    agent.advance(attempt, attempt_state)
    agent.settle()
    assert state(task) is task_state


def test_usage_is_booked_once_however_often_it_is_told(agent: Agent) -> None:
    [task], [attempt] = placed(agent)
    agent.advance(attempt, S.COMPLETE)
    request = agent.ask()
    for _ in range(3):
        talk.sync(agent.site.id, request)
    agent.journal.say(attempt, S.COMPLETE)
    agent.settle()
    record = UsageRecord.objects.get()
    assert (record.project, record.core_seconds) == (task.project, 2.0)
    assert record.giver_id == agent.site.institution.member_id
    assert not record.superseded


def test_a_task_is_tried_as_often_as_it_says_and_then_fails_with_the_last_reason(
    agent: Agent,
) -> None:
    [task], _ = placed(agent, max_attempts=2)
    for _ in range(2):
        Broker().cycle()
        agent.settle()
        [attempt] = agent.journal.live()
        agent.advance(attempt, S.SYSTEM_ERROR, reason=Reason(code="disk", message="disk full"))
        agent.settle()
    task.refresh_from_db()
    assert state(task) is T.SYSTEM_ERROR
    assert task.tries == 2
    assert task.reason["code"] == "disk"


def test_what_cannot_end_better_is_not_tried_again(agent: Agent) -> None:
    [task], [attempt] = placed(agent)
    reason = Reason(code="release", message="too large", parameters={"retryable": False})
    agent.advance(attempt, S.SYSTEM_ERROR, reason=reason)
    agent.settle()
    assert state(task) is T.SYSTEM_ERROR


def test_a_refusal_costs_no_try_and_sends_the_task_elsewhere(agent: Agent) -> None:
    other = Agent(factories.site())
    [task], attempts = placed(agent)
    other.sync()
    agent.advance(attempts[0], S.REFUSED, reason=Reason(code="person", message="not them"))
    agent.settle()
    task.refresh_from_db()
    assert (state(task), task.tries) == (T.QUEUED, 0)
    Broker().cycle()
    assert Attempt.objects.get(task=task, live=True).site == other.site


def test_a_person_whom_a_site_refuses_is_in_nobody_elses_way(agent: Agent) -> None:
    ana, berta = factories.person(), factories.person()
    project = factories.project()
    [hers] = tasks(project, person=ana)
    Broker().cycle()
    agent.settle()
    agent.advance(*agent.assigned, S.REFUSED, reason=Reason(code="person", message="not her"))
    agent.settle()
    [others] = tasks(project, person=berta)
    Broker().cycle()
    assert (state(hers), state(others)) == (T.SYSTEM_ERROR, T.PLACED)


def test_when_every_site_has_refused_the_task_fails_and_says_why(agent: Agent) -> None:
    [task], [attempt] = placed(agent)
    agent.advance(attempt, S.REFUSED, reason=Reason(code="person", message="refuses them"))
    agent.settle()
    Broker().cycle()
    task.refresh_from_db()
    assert state(task) is T.SYSTEM_ERROR
    assert f"{agent.site.name} refuses them" in task.reason["message"]


def test_a_new_policy_forgets_what_was_refused(agent: Agent) -> None:
    _, [attempt] = placed(agent)
    agent.advance(attempt, S.REFUSED)
    agent.settle()
    assert Refusal.objects.count() == 1
    agent.offers = status(policy=Policy(max_tasks=7))
    agent.side.status_due = True
    agent.sync()
    assert not Refusal.objects.exists()


def test_an_attempt_given_up_is_killed_refused_and_still_booked(agent: Agent) -> None:
    [task], [attempt] = placed(agent)
    agent.advance(attempt, S.RUNNING)
    agent.settle()
    from ayni.hub.tasks.reports import give_up

    give_up([ids.read(attempt) or 0], Reason(code="lost", message="silent"), kill=True)
    assert state(task) is T.QUEUED
    agent.advance(attempt, S.COMPLETE)  # it had not heard
    agent.settle()
    gone = Attempt.objects.get(id=ids.read(attempt))
    assert (gone.state, gone.superseded, gone.cancel) == ("lost", True, False)
    assert state(task) is T.QUEUED
    assert UsageRecord.objects.get().superseded


def test_an_attempt_given_up_that_still_runs_is_cancelled(agent: Agent) -> None:
    _, [attempt] = placed(agent)
    agent.advance(attempt, S.RUNNING)
    agent.settle()
    from ayni.hub.tasks.reports import give_up

    give_up([ids.read(attempt) or 0], Reason(code="lost", message="silent"), kill=True)
    assert attempt in agent.sync().cancels
    agent.settle()
    assert agent.journal.live() == []
    assert agent.sync().cancels == []


def test_an_attempt_that_the_agent_has_lost_is_tried_again(agent: Agent) -> None:
    [task], [attempt] = placed(agent)
    del agent.journal.reports[attempt]
    agent.side.inventory_due = True
    agent.sync()
    assert state(task) is T.QUEUED
    assert Attempt.objects.get(id=ids.read(attempt)).state == "lost"


def test_an_attempt_that_was_only_assigned_is_sent_again_and_not_lost(agent: Agent) -> None:
    [task] = tasks(factories.project())
    Broker().cycle()
    talk.sync(agent.site.id, agent.ask())  # the reply is lost
    agent.side.inventory_due = True
    agent.settle()
    assert len(agent.journal.live()) == 1
    assert state(task) is T.PLACED
    assert Attempt.objects.count() == 1


@pytest.mark.parametrize(
    ("flag", "ends"), [("withdraw", (T.QUEUED, "withdrawn")), ("cancel", (T.CANCELED, "canceled"))]
)
def test_orders_about_an_attempt_that_was_never_heard_of_are_settled_by_the_inventory(
    agent: Agent, flag: str, ends: tuple[TaskState, str]
) -> None:
    [task] = tasks(factories.project())
    Broker().cycle()
    talk.sync(agent.site.id, agent.ask())  # the reply is lost
    Attempt.objects.update(**{flag: True})
    if flag == "cancel":
        Task.objects.update(state=T.CANCELED.value)
    for _ in range(3):
        agent.sync()
    assert (state(task), Attempt.objects.get().state) == ends
    assert agent.journal.live() == []


def test_strangers_attempts_are_unknown(agent: Agent) -> None:
    other = Agent(factories.site())
    other.sync()
    _, [attempt] = placed(agent)
    other.journal.say(attempt, S.RUNNING)
    other.journal.say("0000000000000", S.RUNNING)
    other.journal.say("no identifier", S.RUNNING)
    reply = other.sync()
    assert sorted(reply.unknown) == sorted([attempt, "0000000000000", "no identifier"])


def test_a_late_request_does_not_bring_back_an_old_status_or_inventory(agent: Agent) -> None:
    agent.side.status_due = agent.side.inventory_due = True
    late = agent.ask()
    agent.offers = status(partition(cores=99))
    agent.side.status_due = True
    agent.sync()
    _, [attempt] = placed(agent)
    talk.sync(agent.site.id, late)
    told = Site.objects.get(id=agent.site.id)
    assert told.status["partitions"][0]["cores"] == 99
    assert Attempt.objects.get(id=ids.read(attempt)).live


def test_a_copy_of_the_journal_is_fenced(agent: Agent) -> None:
    copy = agent.copy()
    agent.sync()
    with pytest.raises(ProblemError) as caught:
        copy.sync()
    assert (caught.value.status, caught.value.more["fence"]) == (409, "session")


def test_a_status_that_cannot_be_is_refused_by_its_field(agent: Agent) -> None:
    agent.offers = status(partition(depth=10**9))
    agent.side.status_due = True
    with pytest.raises(ProblemError) as caught:
        agent.sync()
    assert caught.value.status == 400
    assert "partitions.main.depth" in caught.value.detail


@pytest.mark.parametrize("field", ["images", "projects", "deny_persons", "https_from"])
def test_patterns_that_would_keep_the_broker_busy_are_refused(agent: Agent, field: str) -> None:
    policy = Policy.model_validate({field: ["*" + "a" * 1000] * 300})
    agent.offers = status(partition()).model_copy(update={"policy": policy})
    agent.side.status_due = True
    with pytest.raises(ProblemError) as caught:
        agent.sync()
    assert caught.value.status == 400
    assert f"policy.{field}" in caught.value.detail


def test_only_watched_attempts_are_asked_for_their_logs(agent: Agent) -> None:
    [task, _], attempts = placed(agent, 2)
    Task.objects.filter(id=task.id).update(
        watched_until=timezone.now() + timezone.timedelta(seconds=60)
    )
    watched = Attempt.objects.get(task=task)
    assert agent.sync().watched == [ids.show(watched.id)]
    assert ids.show(watched.id) in attempts


def test_a_batch_of_reports_takes_a_fixed_number_of_queries(
    agent: Agent, django_assert_max_num_queries: object
) -> None:
    agent.offers = status(partition(cores=500, memory=1 << 50, memory_per_node=1 << 50))
    agent.side.status_due = True
    agent.sync()
    _, attempts = placed(agent, 400)
    for attempt in attempts:
        agent.advance(attempt, S.COMPLETE)
    with django_assert_max_num_queries(30):  # type: ignore[operator]
        agent.sync()
    assert Task.objects.filter(state=T.COMPLETE.value).count() == 400
