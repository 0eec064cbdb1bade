"""What a ban does beyond refusing requests: work that is queued or under way ends.

`enforce` is idempotent, so that the command and the housekeeping may both call it.
"""

from __future__ import annotations

from django.db import transaction

from ayni.hub.accounts.models import Person
from ayni.hub.calls.models import Project
from ayni.hub.network import wake
from ayni.hub.network.models import Site
from ayni.hub.tasks.cancel import cancel_tasks
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
        count += _cancel(
            {"project": project}, _words(f"project {project.name}", project.banned_why)
        )
    for person in Person.objects.filter(banned_at__isnull=False):
        count += _cancel({"person": person}, _words(person.email, person.banned_why))
    for site in Site.objects.filter(banned_at__isnull=False):
        count += _take_back(site)
    return count


def _words(who: str, why: str) -> str:
    return f"{who} is banned: {why}" if why else f"{who} is banned"


def _cancel(whose: dict[str, object], reason: str) -> int:
    count = 0
    alive = Task.objects.filter(**whose).exclude(state__in=[s.value for s in FINAL])
    while part := list(alive.values_list("id", flat=True)[:_PART]):
        cancel_tasks(part, reason)
        count += len(part)
    return count


def _take_back(site: Site) -> int:
    """A banned site's word counts no more; should it be let in again, it kills what it still has."""
    live = list(Attempt.objects.filter(site=site, live=True).values_list("id", flat=True))
    if not live:
        return 0
    with transaction.atomic():
        reason = Reason(code="banned", message=_words(f"site {site.name}", site.banned_why))
        count = give_up(live, reason, kill=True)
    wake.broker()
    return count
