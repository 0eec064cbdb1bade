"""What a site is told: the attempts it must make, give back or end. Read from the database each time.

Level-triggered: an order is told again until the site's reports show that it was heard.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from django.utils import timezone

from ayni.hub.catalogue.models import Dataset
from ayni.hub.channels import find as channels
from ayni.hub.network import bulk
from ayni.hub.network.peer import Peer
from ayni.hub.tasks import ids
from ayni.hub.tasks.models import Attempt
from ayni.hub.tasks.reports import Applied, apply_reports, give_up, settle
from ayni.protocol.attempts import LIVE, WITHDRAWABLE, AttemptState
from ayni.protocol.channels import ChannelUse
from ayni.protocol.messages import MAX_ASSIGNMENTS, Assignment, DatasetUse
from ayni.protocol.policy import Who
from ayni.tes.arrays import expand

__all__ = ["Applied", "apply_reports", "assignments", "give_up", "inventory", "orders", "settle"]

MAX_BYTES = 16 << 20  # of task documents in one reply
_USE = tuple(DatasetUse.model_fields)  # a dataset's columns have these names

_ASSIGNED = """
SELECT a.id, a.number, a.partition, t.id, t."index", t.parameters, t.array_id,
       COALESCE(b.document, r.template), LENGTH(COALESCE(b.document, r.template)), t.group_id,
       t.links, q.id, p.name, p.email, COALESCE(i.name, j.name), q.name, j.member_id
FROM tasks_attempt a
JOIN tasks_task t ON t.id = a.task_id
LEFT JOIN tasks_taskbody b ON b.task_id = t.id
LEFT JOIN tasks_array r ON r.id = t.array_id
JOIN accounts_person p ON p.id = t.person_id
LEFT JOIN accounts_institution i ON i.id = p.institution_id
JOIN calls_project q ON q.id = t.project_id
JOIN accounts_institution j ON j.id = q.institution_id
WHERE a.id IN ({marks}) ORDER BY a.id
"""
_WANTED = """
SELECT id FROM tasks_attempt
WHERE site_id = %s AND state = 'assigned' AND live AND NOT cancel AND NOT withdraw
ORDER BY id LIMIT %s
"""


def assignments(site: Peer, limit: int = MAX_ASSIGNMENTS) -> list[Assignment]:
    """The attempts that the site has not accepted yet, oldest first, within the reply's bounds."""
    wanted = [row[0] for row in bulk.select(_WANTED, [site.id, limit])]
    if not wanted:
        return []
    answer: list[Assignment] = []
    maker = _Maker(site)
    size = 0
    for part in bulk.parts(wanted, 100):
        for row in bulk.select(_ASSIGNED.format(marks=bulk.marks(part)), part):
            size += row[8]
            if answer and size > MAX_BYTES:
                return answer
            answer.append(maker.make(row))
    return answer


#: What a group's tasks share: the shape, the site's datasets that they read, their channels.
GroupWords = tuple[dict[str, Any], list[DatasetUse], list[ChannelUse]]


class _Maker:
    """Makes assignments; what many tasks share is read and parsed once."""

    def __init__(self, site: Peer) -> None:
        self.site = site
        self.groups: dict[int, GroupWords] = {}
        self.templates: dict[int, dict[str, Any]] = {}
        self.cards: Mapping[str, DatasetUse] | None = None

    def make(self, row: tuple[Any, ...]) -> Assignment:
        (
            attempt,
            number,
            partition,
            task,
            index,
            parameters,
            array,
            text,
            _,
            group,
            links,
            project_id,
            *who,
        ) = row
        if array is None:
            document = json.loads(text)
        else:
            if array not in self.templates:
                self.templates[array] = json.loads(text)
            document = expand(self.templates[array], index, bulk.read_json(parameters))
        shape, datasets, uses = self._group(group, project_id)
        name, email, institution, project, member = who
        return Assignment.model_construct(
            attempt=ids.show(attempt),
            task_id=ids.show(task),
            number=number,
            task=document,
            shape=shape,
            partition=partition,
            who=Who.model_construct(
                name=name, email=email, institution=institution, project=project, member=member
            ),
            datasets=datasets,
            channels=uses,
            link=links + 1,
        )

    def _group(self, group: int, project: int) -> GroupWords:
        if group not in self.groups:
            [(shape, datasets)] = bulk.select(
                "SELECT shape, datasets FROM tasks_group WHERE id = %s", [group]
            )
            names = [name for site, name in bulk.read_json(datasets) if site == self.site.name]
            wanted = bulk.read_json(shape)
            uses = channels.uses(project, wanted.get("channels") or ())
            self.groups[group] = wanted, [self._use(name) for name in names], uses
        return self.groups[group]

    def _use(self, name: str) -> DatasetUse:
        if self.cards is None:
            found = Dataset.objects.filter(site=self.site.id).values(*_USE)
            self.cards = {card["name"]: DatasetUse(**card) for card in found}
        # A dataset that has gone: the site will say so; nothing of it may leave.
        return self.cards.get(name) or DatasetUse(name=name, release="nothing")


# --- orders about attempts that the site has --------------------------------------------------


@dataclass(slots=True)
class Orders:
    withdrawals: list[str] = field(default_factory=list)
    cancels: list[str] = field(default_factory=list)
    watched: list[str] = field(default_factory=list)
    unaccepted: bool = False  # some order is about an attempt that the site may never have heard of


_ORDERS = """
SELECT id, state, cancel, withdraw FROM tasks_attempt
WHERE site_id = %s AND (cancel OR withdraw) ORDER BY id
"""
_WATCHED = """
SELECT a.id FROM tasks_task t JOIN tasks_attempt a ON a.task_id = t.id
WHERE t.watched_until > %s AND a.live AND a.site_id = %s ORDER BY a.id
"""


def orders(site: Peer) -> Orders:
    """What the site must give back, kill, or tell more of."""
    answer = Orders()
    for number, state, cancel, withdraw in bulk.select(_ORDERS, [site.id]):
        if cancel:
            answer.cancels.append(ids.show(number))
        elif withdraw and AttemptState(state) in WITHDRAWABLE:
            answer.withdrawals.append(ids.show(number))
        answer.unaccepted |= state in (AttemptState.ASSIGNED.value, AttemptState.LOST.value)
    answer.watched = [ids.show(r[0]) for r in bulk.select(_WATCHED, [timezone.now(), site.id])]
    return answer


# --- inventories ------------------------------------------------------------------------------


def live_at(site: Peer) -> dict[str, AttemptState]:
    """The site's attempts that the hub takes for alive."""
    rows = Attempt.objects.filter(site=site.id, live=True).values_list("id", "state")
    return {ids.show(number): AttemptState(state) for number, state in rows}


def inventory(site: Peer, alive: list[str]) -> Applied:
    """Sort what the site says is alive: what the hub does not know, and what it has given up."""
    answer = Applied()
    numbers = {ids.read(text): text for text in alive}
    known: dict[int, AttemptState] = {}
    for part in bulk.parts(n for n in numbers if n is not None):
        rows = Attempt.objects.filter(site=site.id, id__in=part).values_list("id", "state")
        known |= {number: AttemptState(state) for number, state in rows}
    for number, text in numbers.items():
        if number is None or number not in known:
            answer.unknown.append(text)
        elif known[number] not in LIVE:
            answer.given_up.append(text)
    return answer
