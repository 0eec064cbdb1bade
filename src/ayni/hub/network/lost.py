"""Giving up the attempts of sites that are not heard any more.

The hub cannot know that a silent site has stopped: an attempt there may still be running until its
walltime ends, and its site may come back to say how it ended. So it is replaced only after the rest of
its walltime and an hour; a task that says `restartable` may run twice at once and is replaced sooner.

The same holds for an attempt that was only assigned: whether the reply that assigned it arrived is
just what cannot be known. If the site comes back, its first word settles it at once.
"""

from __future__ import annotations

import time
from datetime import datetime, timedelta

from django.db import transaction
from django.utils import timezone

from ayni.broker.reasons import span
from ayni.broker.types import Settings
from ayni.hub.network.models import Site
from ayni.hub.tasks.models import Attempt
from ayni.hub.tasks.reports import give_up
from ayni.protocol.policy import Reason

GRACE = 3600.0  # seconds beyond the walltime
RESTARTABLE_AFTER = 2.0  # times `silent_after`


def lost_after(walltime: float, ran: float, *, restartable: bool, settings: Settings) -> float:
    """Seconds after a site's last word until an attempt there is given up.

    Args:
        walltime: the task's limit, in seconds.
        ran: how long it had run at the site's last word, in seconds; 0 if it had not started.
    """
    if restartable:
        return RESTARTABLE_AFTER * settings.silent_after
    return max(0.0, walltime - ran) + GRACE


def give_up_silent(settings: Settings) -> int:
    """Replace what silent sites have had for too long. Returns how many attempts."""
    now = timezone.now()
    silent = timedelta(seconds=settings.silent_after)
    count = 0
    for site in Site.objects.filter(last_seen__lt=now - silent):
        with transaction.atomic():
            count += _site(site, now, settings)
    return count


def _site(site: Site, now: datetime, settings: Settings) -> int:
    heard = site.last_seen
    if heard is None:
        return 0
    silence = (now - heard).total_seconds()
    late = [
        number
        for number, started, shape in Attempt.objects.filter(site=site, live=True).values_list(
            "id", "started", "task__group__shape"
        )
        if silence
        > lost_after(
            shape["walltime"],
            max(0.0, (heard - started).total_seconds()) if started else 0.0,
            restartable=shape["restartable"],
            settings=settings,
        )
    ]
    if not late:
        return 0
    reason = Reason(
        code="lost",
        message=f"site {site.name} has not been heard for {span(silence)}",
        parameters={"site": site.name, "seconds": round(silence), "at": round(time.time())},
    )
    return give_up(late, reason, kill=True)
