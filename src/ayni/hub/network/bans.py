"""What a ban does beyond refusing requests: work that is queued or under way ends.

`enforce` is idempotent, so that the command and the housekeeping may both call it.
"""

from __future__ import annotations

from django.db import transaction

from ayni.hub.accounts.models import Person
from ayni.hub.calls.models import Project
from ayni.hub.network import wake
from ayni.hub.network.models import Site
from ayni.hub.tasks.life import FINAL
from ayni.hub.tasks.models import Attempt, Task
from ayni.hub.tasks.reports import give_up
from ayni.protocol.policy import Reason

_PART = 1000  # tasks ended in one transaction


def enforce() -> int:
    """End the tasks of banned people and projects, and take back what banned sites have.

    Returns:
        How many tasks were cancelled and attempts given up.
    """
    count = 0
    for project in Project.objects.filter(banned_at__isnull=False):
        reason = _reason(f"project {project.name}", project.banned_why)
        count += _cancel({"project": project}, reason)
    for person in Person.objects.filter(banned_at__isnull=False):
        count += _cancel({"person": person}, _reason(person.email, person.banned_why))
    for site in Site.objects.filter(banned_at__isnull=False):
        count += _take_back(site)
    return count


def _reason(who: str, why: str) -> Reason:
    message = f"{who} is banned: {why}" if why else f"{who} is banned"
    return Reason(code="banned", message=message)


def _cancel(whose: dict[str, object], reason: Reason) -> int:
    from ayni.hub.tasks.cancel import cancel_tasks

    count = 0
    alive = Task.objects.filter(**whose).exclude(state__in=[s.value for s in FINAL])
    while part := list(alive.values_list("id", flat=True)[:_PART]):
        with transaction.atomic():
            cancel_tasks(part, reason)
        count += len(part)
    return count


def _take_back(site: Site) -> int:
    """A banned site's word counts no more; should it be let in again, it kills what it still has."""
    live = list(Attempt.objects.filter(site=site, live=True).values_list("id", flat=True))
    if not live:
        return 0
    with transaction.atomic():
        count = give_up(live, _reason(f"site {site.name}", site.banned_why), kill=True)
    wake.broker()
    return count
