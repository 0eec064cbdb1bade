"""What the broker learns from the usage that was booked: who had how much, how long tasks run.

Read once when the broker starts, then by increments."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from django.db.models import Max, Sum
from django.db.models.functions import TruncDate

from ayni.broker.order import decayed
from ayni.hub.ledger.models import UsageRecord
from ayni.hub.network import bulk

_NEW = """
SELECT u.id, u.project_id, u.core_seconds, u.wall, t.group_id
FROM ledger_usagerecord u
JOIN tasks_attempt a ON a.id = u.attempt_id
JOIN tasks_task t ON t.id = a.task_id
WHERE u.id > %s ORDER BY u.id LIMIT 20000
"""
_WEIGHT = 0.2  # of the newest value in a moving mean
_MOST_GROUPS = 20_000


@dataclass(slots=True)
class Past:
    """Moving figures of the past; `at` is when `usage` was decayed last."""

    half_life: float  # seconds
    at: float = 0.0
    usage: dict[int, float] = field(default_factory=dict)  # core seconds by project
    service: OrderedDict[int, float] = field(default_factory=OrderedDict)  # seconds by group
    _last: int = -1

    def update(self, now: float) -> None:
        """Take in what was booked since the last call."""
        if self._last < 0:
            self._begin(now)
        if now > self.at:
            factor = decayed(1.0, now - self.at, self.half_life)
            self.usage = {project: used * factor for project, used in self.usage.items()}
            self.at = now
        for row in bulk.select(_NEW, [self._last]):
            self._last, project, core_seconds, wall, group = row
            self.usage[project] = self.usage.get(project, 0.0) + core_seconds
            self.service[group] = _mean(self.service.pop(group, wall), wall)
        while len(self.service) > _MOST_GROUPS:
            self.service.popitem(last=False)

    def _begin(self, now: float) -> None:
        self.at = now
        self._last = UsageRecord.objects.aggregate(last=Max("id"))["last"] or 0
        since = datetime.fromtimestamp(now, UTC) - timedelta(seconds=8 * self.half_life)
        days = (
            UsageRecord.objects.filter(id__lte=self._last, ended__gte=since)
            .values("project", day=TruncDate("ended"))
            .annotate(used=Sum("core_seconds"))
        )
        for row in days:
            noon = datetime(row["day"].year, row["day"].month, row["day"].day, 12, tzinfo=UTC)
            used = decayed(row["used"], max(0.0, now - noon.timestamp()), self.half_life)
            self.usage[row["project"]] = self.usage.get(row["project"], 0.0) + used


def _mean(before: float, now: float) -> float:
    return before + _WEIGHT * (now - before)
