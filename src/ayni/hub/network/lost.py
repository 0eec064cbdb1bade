"""Giving up the attempts of sites that are not heard any more.

The hub cannot know that a silent site has stopped: an attempt there may still be running until its
walltime ends, and its site may come back to say how it ended. So it is replaced only after the rest of
its walltime and an hour; a task that says `restartable` may run twice at once and is replaced sooner.

The same holds for an attempt that was only assigned: whether the reply that assigned it arrived is
just what cannot be known. If the site comes back, its first word settles it at once. But a site counts
as well for a while after its last word: what it was given when every reply had gone out already was in
none of them, and is taken back as soon as the site counts as silent.
"""

from __future__ import annotations

import time
from datetime import datetime, timedelta

from django.db import transaction
from django.utils import timezone

from ayni.broker.reasons import span
from ayni.broker.types import Settings
from ayni.hub.network.models import Site
from ayni.hub.network.talk import NEVER_HEARD
from ayni.hub.tasks.models import Attempt
from ayni.hub.tasks.reports import give_up, settle
from ayni.protocol.attempts import AttemptState
from ayni.protocol.messages import MAX_WAIT
from ayni.protocol.policy import Reason

GRACE = 3600.0  # seconds beyond the walltime
RESTARTABLE_AFTER = 2.0  # times `silent_after`
#: Seconds after a site's last word in which a reply to it may still go out: so long one is held, and a
#: busy machine is late. Should one be later yet, the site's report of the attempt is answered by a cancel.
REPLIES_REACH = MAX_WAIT + 15.0


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
    """Replace what silent sites have had for too long, or were never told of. Returns how many attempts."""
    now = timezone.now()
    silent = Site.objects.filter(last_seen__lt=now - timedelta(seconds=settings.silent_after))
    count = 0
    for number in silent.values_list("id", flat=True):
        with transaction.atomic():
            # Locked: a sync is over, or sees what is done here.
            site = silent.select_for_update(no_key=True).filter(id=number).first()
            if site is not None and site.last_seen is not None:
                count += _take_back(site, site.last_seen)
                count += _give_up(site, site.last_seen, now, settings)
    return count


def _take_back(site: Site, heard: datetime) -> int:
    assigned = Attempt.objects.filter(site=site, live=True, state=AttemptState.ASSIGNED.value)
    untold = assigned.filter(assigned__gt=heard + timedelta(seconds=REPLIES_REACH))
    numbers = list(untold.values_list("id", flat=True))
    settle(numbers, AttemptState.WITHDRAWN, NEVER_HEARD)
    return len(numbers)


def _give_up(site: Site, heard: datetime, now: datetime, settings: Settings) -> int:
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
