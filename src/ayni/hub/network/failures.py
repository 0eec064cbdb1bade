"""Which sites have just failed the tasks that are to be tried again: another site is tried first."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from ayni.hub.network import bulk

# The attempts that count as tries; a refused or withdrawn one says nothing of its site.
_COUNTS = """
SELECT t.group_id, s.name, COUNT(*) FROM tasks_task t
JOIN tasks_attempt a ON a.task_id = t.id JOIN network_site s ON s.id = a.site_id
WHERE t.state = 2 AND t.tries > 0 AND {wanted} AND a.number = (
  SELECT MAX(b.number) FROM tasks_attempt b
  WHERE b.task_id = t.id AND b.state IN ('system_error', 'lost', 'canceled')
) GROUP BY t.group_id, s.name
"""
_OF = """
SELECT task_id, site_id FROM tasks_attempt
WHERE {tasks} AND state IN ('system_error', 'lost', 'canceled') ORDER BY number
"""


def counts(groups: Collection[int]) -> dict[int, dict[str, int]]:
    """By group and site, how many queued tasks the site failed last."""
    found: dict[int, dict[str, int]] = {}
    if not groups:
        return found
    sql = _COUNTS.format(wanted=bulk.among("t.group_id"))
    for group, site, count in bulk.select(sql, [bulk.these(groups)]):
        found.setdefault(group, {})[site] = count
    return found


def of(tasks: Collection[int]) -> dict[int, int]:
    """By task, the site that failed it last."""
    return dict(bulk.select(_OF.format(tasks=bulk.among("task_id")), [bulk.these(tasks)]))


def elsewhere_first(tasks: Sequence[int], failed: Mapping[int, int], site: int) -> list[int]:
    """The tasks of a group as a site should get them: first those that others have failed, so that these
    are not left for the others; last those that it has failed itself."""

    def fitness(task: int) -> int:
        return 1 if task not in failed else 2 if failed[task] == site else 0

    return sorted(tasks, key=fitness)
