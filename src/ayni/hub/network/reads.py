"""What a cycle of the broker reads, each by one query, however many tasks are queued."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from ayni.hub.catalogue.models import Dataset
from ayni.hub.network import bulk
from ayni.protocol.policy import Reason

#: Refusals that pass by themselves, and for how long they are remembered, in seconds.
PASSING = frozenset({"hours", "busy", "tasks", "draining", "maintenance"})
PASSING_FOR = 300.0

_QUEUED = "SELECT group_id, COUNT(*), MIN(id) FROM tasks_task WHERE state = 2 GROUP BY group_id"
_LIVE = """
SELECT a.site_id, a.partition, t.group_id, a.state, COUNT(*)
FROM tasks_attempt a JOIN tasks_task t ON t.id = a.task_id
WHERE a.live GROUP BY a.site_id, a.partition, t.group_id, a.state
"""
_GROUPS = """
SELECT g.id, g.project_id, p.email, g.key
FROM tasks_group g JOIN accounts_person p ON p.id = g.person_id WHERE {wanted}
"""
_SITES = """
SELECT s.id, s.name, i.member_id, s.draining, s.banned_at IS NOT NULL, s.last_seen, s.status_at
FROM network_site s JOIN accounts_institution i ON i.id = s.institution_id ORDER BY s.name
"""
_PROJECTS = """
SELECT p.id, p.name, p.weight, i.member_id, i.name, p.banned_at IS NOT NULL
FROM calls_project p JOIN accounts_institution i ON i.id = p.institution_id WHERE {wanted}
"""
_REFUSALS = """
SELECT r.group_id, s.name, r.reason, r.at
FROM tasks_refusal r JOIN network_site s ON s.id = r.site_id WHERE {wanted}
"""


@dataclass(frozen=True, slots=True)
class Row:
    """Whose a group is, and the key of its content."""

    project: int
    email: str
    key: str


def queued() -> dict[int, tuple[int, int]]:
    """By group, how many tasks of it are queued, and the oldest."""
    return {group: (count, first) for group, count, first in bulk.select(_QUEUED)}


def live() -> list[tuple[Any, ...]]:
    """Live attempts: site, partition, group, state, how many."""
    return bulk.select(_LIVE)


def sites() -> list[tuple[Any, ...]]:
    """id, name, member, whether draining, whether banned, when last heard, when its status was told."""
    return bulk.select(_SITES)


def groups(wanted: Collection[int]) -> dict[int, Row]:
    sql = _GROUPS.format(wanted=bulk.among("g.id"))
    return {id: Row(*row) for id, *row in bulk.select(sql, [bulk.these(wanted)])}


def projects(ids: Collection[int]) -> list[tuple[Any, ...]]:
    """id, name, weight, member, institution, whether banned."""
    return bulk.select(_PROJECTS.format(wanted=bulk.among("p.id")), [bulk.these(ids)])


def refusals(groups: Collection[int], now: float) -> dict[int, dict[str, Reason]]:
    """What the sites' agents said to the groups, by group and site."""
    found: dict[int, dict[str, Reason]] = {}
    sql = _REFUSALS.format(wanted=bulk.among("r.group_id"))
    for group, site, told, at in bulk.select(sql, [bulk.these(groups)]):
        reason, since = Reason.model_validate(bulk.read_json(told)), bulk.read_moment(at)
        if reason.code not in PASSING:
            found.setdefault(group, {})[site] = reason
        elif since and now - since.timestamp() < PASSING_FOR:
            passing = Reason(code="busy", message=reason.message, parameters=reason.parameters)
            found.setdefault(group, {})[site] = passing
    return found


def datasets(pairs: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
    """Of these datasets of sites, by site and name, those that are still there."""
    wanted = set(pairs)
    if not wanted:
        return set()
    rows = Dataset.objects.filter(
        present=True, site__isnull=False, name__in={name for _, name in wanted}
    )
    return set(rows.values_list("site__name", "name"))
