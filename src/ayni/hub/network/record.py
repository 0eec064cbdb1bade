"""Keeping the broker's decisions: a row to a decision and its reasons, however often it is repeated."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from ayni.broker.types import Decision, SiteReason
from ayni.hub.network import bulk
from ayni.hub.tasks.models import Placement

REFRESH = timedelta(seconds=30)  # a decision that only repeats is noted so often
_MOST_KNOWN = 50_000

_INSERT = bulk.Insert(
    "tasks_placement",
    {
        "group_id": "bigint", "site_id": "bigint", "partition": "text", "first": "timestamptz",
        "last": "timestamptz", "count": "integer", "reasons": "jsonb", "fingerprint": "text",
    },
)  # fmt: skip
_REPEAT = """
UPDATE tasks_placement SET last = %s, count = count + %s, reasons = %s
WHERE group_id = %s AND fingerprint = %s
"""


@dataclass
class Recorder:
    """Writes decisions; knows which of them have a row, and when it was written last."""

    known: dict[tuple[int, str], datetime] = field(default_factory=dict)

    def record(self, decisions: Sequence[Decision], sites: dict[str, int], now: datetime) -> None:
        """Note the decisions. Of a group that was placed in part, only the placing is news."""
        placed = {d.group for d in decisions if d.site is not None}
        told = [d for d in decisions if d.site is not None or d.group not in placed]
        marked = [(d, fingerprint(d)) for d in told]
        self._learn({d.group for d, mark in marked if (d.group, mark) not in self.known})
        texts: dict[int, str] = {}
        new, repeated = [], []
        for d, mark in marked:
            written = self.known.get((d.group, mark))
            if written and d.site is None and now - written < REFRESH:
                continue
            text = texts.get(id(d.reasons)) or texts.setdefault(id(d.reasons), _text(d.reasons))
            count = d.count if d.site else 0
            if written is None:
                site = sites[d.site] if d.site else None
                new.append([d.group, site, d.partition or "", now, now, count, text, mark])
            else:
                repeated.append([now, count, text, d.group, mark])
            self.known[d.group, mark] = now
        _INSERT(new)
        bulk.execute(_REPEAT, repeated)

    def _learn(self, groups: set[int]) -> None:
        """Read which decisions on these groups have a row already."""
        if len(self.known) > _MOST_KNOWN:
            self.known.clear()
        for part in bulk.parts(sorted(groups)):
            rows = Placement.objects.filter(group_id__in=part)
            for group, mark, last in rows.values_list("group_id", "fingerprint", "last"):
                self.known.setdefault((group, mark), last)


def prune(before: datetime) -> None:
    """Forget decisions that were last made before then."""
    Placement.objects.filter(last__lt=before).delete()


def fingerprint(decision: Decision) -> str:
    """What makes two decisions the same: the choice and each site's verdict, not the numbers."""
    verdicts = [(r.site, r.verdict.value, r.code) for r in decision.reasons]
    text = json.dumps([decision.site, decision.partition, verdicts])
    return hashlib.sha256(text.encode()).hexdigest()


def reason_json(reason: SiteReason) -> dict[str, Any]:
    return {
        "site": reason.site,
        "verdict": reason.verdict.value,
        "code": reason.code,
        "message": reason.message,
        "parameters": dict(reason.parameters),
    }


def _text(reasons: Sequence[SiteReason]) -> str:
    return json.dumps([reason_json(r) for r in reasons])
