"""Why a task waits, or where one could run: the broker's judgement, asked without placing anything."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

from ayni.broker.outlook import Outlook, outlook
from ayni.broker.place import place
from ayni.broker.types import Decision, Settings, Verdict
from ayni.hub.accounts.models import Person
from ayni.hub.calls.models import Project
from ayni.hub.network.world import Content, World, look
from ayni.hub.tasks.prepare import prepare_task
from ayni.tes.models import Task


def why(group_id: int) -> Decision:
    """What the broker thinks now of one more task of the group, for every site."""
    return _decide(look(lambda loader: loader.load_groups(time.time(), [group_id])))


@dataclass(frozen=True, slots=True)
class Where:
    """What the broker would do with a task, and when it would start at each site."""

    decision: Decision
    outlooks: Mapping[str, Outlook]  # by site


def where(project: Project, person: Person, task: Task) -> Where:
    """Judge this task of the person's; nothing is stored.

    Raises:
        ProblemError: 400, as if the task were created.
    """
    prepared = prepare_task(project, task)
    place = prepared.rows[0].place
    content = Content(
        shape=prepared.shape,
        sites=None if place.sites is None else frozenset(place.sites),
        data=dict(place.data),
        datasets=place.datasets,
        https_hosts=frozenset(place.https_hosts),
    )
    who = project.pk, person.email
    world = look(lambda loader: loader.hypothetical(time.time(), *who, content))
    seen = outlook(world.groups[0], world.sites, Settings())
    return Where(_decide(world), {one.site: one for one in seen})


def summary(decision: Decision) -> str:
    """One line: where it would go, or the most hopeful thing that it waits for."""
    if decision.site is not None:
        return f"can start at {decision.site}"
    for verdict in (Verdict.HELD, Verdict.FULL, Verdict.INELIGIBLE):
        if sites := [r for r in decision.reasons if r.verdict is verdict]:
            if verdict is Verdict.INELIGIBLE:
                return "no site takes it now" if not decision.hopeless else "no site would take it"
            words = "room" if verdict is Verdict.FULL else "a better site"
            return f"waits for {words}: {', '.join(r.site for r in sites)}"
    return "there is no site"


def _decide(world: World) -> Decision:
    # A group of a banned project is not placed; its tasks are cancelled.
    groups = [replace(g, queued=1) for g in world.groups]
    decisions = place(groups, world.sites, world.projects, world.now, Settings())
    return decisions[0] if decisions else Decision(0, None, None, 1, (), hopeless=True)
