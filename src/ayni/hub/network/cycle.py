"""One cycle of the broker: read the world, decide, write attempts and reasons, wake the sites."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from django.db import transaction
from django.utils import timezone

from ayni.broker.place import place
from ayni.broker.recall import recall
from ayni.broker.types import Decision, Recall, Settings, Waiting
from ayni.hub.network import bulk, failures, waits, wake
from ayni.hub.network.record import Recorder
from ayni.hub.network.world import Loader, World
from ayni.hub.tasks import ids
from ayni.hub.tasks.ending import tasks_ended
from ayni.hub.tasks.life import TaskState, next_state
from ayni.hub.tasks.models import Attempt
from ayni.protocol.attempts import WITHDRAWABLE, AttemptState
from ayni.protocol.policy import Reason

HOPE = 86400.0  # seconds that a task waits for a site that might take it, where none does now
_MOST_ENDED = 1000  # tasks without hope that one cycle ends

_PICK = "SELECT id FROM tasks_task WHERE group_id = %s AND state = 2 ORDER BY id LIMIT %s{lock}"
_NUMBERS = "SELECT task_id, MAX(number) FROM tasks_attempt WHERE {tasks} GROUP BY task_id"
_ATTEMPT = bulk.Insert(
    "tasks_attempt",
    {
        "id": "bigint", "task_id": "bigint", "number": "smallint", "site_id": "bigint",
        "partition": "text", "state": "text", "live": "boolean", "superseded": "boolean",
        "withdraw": "boolean", "cancel": "boolean", "seq": "bigint", "assigned": "timestamptz",
        "foreseen": "jsonb",
    },
)  # fmt: skip
_PLACED = "UPDATE tasks_task SET state = %s, tries = tries + 1 WHERE {tasks}"
_ENDED = "UPDATE tasks_task SET state = %s, reason = %s, ended = %s WHERE {tasks}"
_WAITING = """
SELECT a.site_id, a.partition, t.group_id, COUNT(*), MIN(a.assigned)
FROM tasks_attempt a JOIN tasks_task t ON t.id = a.task_id
WHERE a.live AND NOT a.withdraw AND NOT a.cancel AND a.state IN ({marks})
GROUP BY a.site_id, a.partition, t.group_id
"""

Wanted = tuple[int, int, str, str | None]  # a task, its site and partition, what is foreseen


@dataclass
class Broker:
    """Runs cycles. What it keeps in memory only saves work: a new one does the same."""

    settings: Settings = field(default_factory=Settings)
    loader: Loader = field(init=False)
    recorder: Recorder = field(default_factory=Recorder)

    def __post_init__(self) -> None:
        self.loader = Loader(self.settings)

    def cycle(self) -> int:
        """Place what can be placed now.

        Returns:
            How many tasks were given to sites.
        """
        world = self.loader.load(time.time())
        if not world.groups:
            return 0
        decisions = place(world.groups, world.sites, world.projects, world.now, self.settings)
        with transaction.atomic():
            placed = _write(world, decisions)
            self.recorder.record(decisions, world.site_ids, timezone.now())
            _end_hopeless(world, decisions)
        return placed

    def recall(self) -> int:
        """Ask back what waits at one site while another could start it; call it after `cycle`."""
        rows = bulk.select(
            _WAITING.format(marks=bulk.marks([*WITHDRAWABLE])), [s.value for s in WITHDRAWABLE]
        )
        if not rows:
            return 0
        world = self.loader.load_groups(time.time(), {row[2] for row in rows})
        names = {id: name for name, id in world.site_ids.items()}
        groups = {g.id: g for g in world.groups}
        waiting = [
            Waiting(groups[group], names[site], partition, count, _seconds(since))
            for site, partition, group, count, since in rows
            if group in groups
        ]
        recalls = recall(waiting, world.sites, world.now, self.settings)
        with transaction.atomic():
            return sum(_ask_back(r, world.site_ids[r.site]) for r in recalls)


def _seconds(moment: datetime | str) -> float:
    read = bulk.read_moment(moment)
    return read.timestamp() if read else 0.0


def _write(world: World, decisions: Sequence[Decision]) -> int:
    """Make the attempts of the decisions, as far as their tasks are still queued."""
    wanted: dict[int, list[Decision]] = defaultdict(list)
    for d in decisions:
        if d.site is not None:
            wanted[d.group].append(d)
    wanted_at: list[Wanted] = []
    shapes = {g.id: g.shape for g in world.groups}
    retried = {g.id for g in world.groups if g.failed}
    for group, parts in wanted.items():
        queue = _pick(group, sum(d.count for d in parts))
        failed = failures.of(queue) if group in retried else {}
        for d in parts:
            site = world.site_ids[d.site or ""]
            queue = failures.elsewhere_first(queue, failed, site)
            told = waits.foreseen(shapes[group], d.start, d.move) if d.start else None
            wanted_at += [(task, site, d.partition or "", told) for task in queue[: d.count]]
            queue = queue[d.count :]
    if not wanted_at:
        return 0
    _attempt(wanted_at)
    tasks = bulk.these(task for task, *_ in wanted_at)
    state = next_state(TaskState.QUEUED, "place").value
    bulk.run(_PLACED.format(tasks=bulk.among("id")), [state, tasks])
    wake.site(*{world.site_ids[d.site] for d in decisions if d.site is not None})
    return len(wanted_at)


def _attempt(wanted: Sequence[Wanted]) -> None:
    """Make an attempt at each task, at the site and partition beside it."""
    numbers = _NUMBERS.format(tasks=bulk.among("task_id"))
    tried = dict(bulk.select(numbers, [bulk.these(task for task, *_ in wanted)]))
    first, now = ids.new(len(wanted)), timezone.now()
    _ATTEMPT(
        [
            [
                first + n, task, tried.get(task, 0) + 1, site, partition,
                AttemptState.ASSIGNED.value, True, False, False, False, 0, now, told,
            ]
            for n, (task, site, partition, told) in enumerate(wanted)
        ]
    )  # fmt: skip


def _pick(group: int, count: int) -> list[int]:
    lock = bulk.for_update("tasks_task", skip_locked=True)
    return [row[0] for row in bulk.select(_PICK.format(lock=lock), [group, count])]


def _end_hopeless(world: World, decisions: Iterable[Decision]) -> None:
    """End tasks that no site would ever take: at once if sites were asked and refused, else in a day."""
    for d in decisions:
        if not d.hopeless:
            continue
        refused = d.group in world.refused
        if not refused and world.now - world.oldest.get(d.group, world.now) < HOPE:
            continue
        newest = None if refused else ids.at(world.now - HOPE)
        words = "; ".join(f"{r.site} {r.message}" for r in d.reasons) or "there is no site"
        code = "refused" if refused else "no-site"
        reason = Reason(code=code, message=f"no site takes it: {words[:2000]}")
        end_queued(d.group, reason, before=newest, most=_MOST_ENDED)


def end_queued(group: int, reason: Reason, *, before: int | None, most: int) -> None:
    """End queued tasks of a group (those with numbers below `before`) with SYSTEM_ERROR."""
    tasks = [t for t in _pick(group, most) if before is None or t < before]
    if not tasks:
        return
    state = next_state(TaskState.QUEUED, "no site takes it").value
    now = timezone.now()
    values = [state, reason.model_dump_json(), now, bulk.these(tasks)]
    bulk.run(_ENDED.format(tasks=bulk.among("id")), values)
    tasks_ended(tasks)
    project = bulk.select("SELECT project_id FROM tasks_group WHERE id = %s", [group])[0][0]
    wake.task(project)


def _ask_back(asked: Recall, site: int) -> int:
    """Mark the newest waiting attempts of the group at the site."""
    newest = (
        Attempt.objects.filter(
            site_id=site,
            partition=asked.partition,
            task__group_id=asked.group,
            live=True,
            withdraw=False,
            cancel=False,
            state__in=[s.value for s in WITHDRAWABLE],
        )
        .order_by("-id")
        .values_list("id", flat=True)[: asked.count]
    )
    count = Attempt.objects.filter(id__in=list(newest)).update(withdraw=True)
    wake.site(site)
    return count
