"""One exchange with a site's agent: what `POST /agent/v1/sync` does, HTTP apart.

A sync is one transaction. Its rules are `protocol.exchange`; what it does to attempts and tasks is
`tasks.reports` and `tasks.dispatch`.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.utils import timezone

from ayni.hub.accounts.tokens import banned_site
from ayni.hub.catalogue import volumes
from ayni.hub.http import ProblemError
from ayni.hub.network import asking, hub, peer, status, wake
from ayni.hub.network.peer import Peer
from ayni.hub.tasks import dispatch, ids
from ayni.hub.tasks.models import Attempt
from ayni.protocol.attempts import AttemptState
from ayni.protocol.exchange import Fence, Heard, fence_message, hear, missing
from ayni.protocol.messages import SyncReply, SyncRequest
from ayni.protocol.policy import Reason

log = logging.getLogger(__name__)

#: Seconds for which reports alone are left unanswered, since new assignments often follow at once.
HOLD_REPORTS = 0.1
#: Seconds after which standing orders (cancels, withdrawals) are told again.
REPEAT_ORDERS = 1.0
#: … and charters that wait for an operator: these come with their texts, and a person takes longer.
REPEAT_CHARTERS = 10.0
SILENCE = 60.0  # seconds after which a site's word is news to the broker
_BIG = (1 << 63) - 1
_INT = (1 << 31) - 1

VANISHED = Reason(code="vanished", message="the site's agent has no record of it any more")
NEVER_HEARD = Reason(code="never-heard", message="the site was never told of it")


@dataclass(slots=True)
class Answer:
    """A reply, and for how long it may be held in the hope of more to say."""

    reply: SyncReply
    hold: float


def sync(site_id: int, request: SyncRequest) -> Answer:
    """Hear a request and make the reply.

    Raises:
        ProblemError: 409 the request is fenced, 426 its protocol is too old or too new.
    """
    check(request)
    with transaction.atomic():
        site = peer.read(site_id, lock=True)
        if site is None:
            raise ProblemError(403, "No such site", "the site is gone; register it again")
        heard = hear(site.memory, request)
        if heard.fence is not None:
            raise _fenced(heard.fence)
        if request.status is not None and heard.fresh:
            status.take(site.id, request.status)
        applied = dispatch.apply_reports(site, request.reports)
        want_inventory = heard.rewound
        if request.inventory is not None and heard.fresh and not heard.rewound:
            sorted_out = _inventory(site, heard, request)
            applied.unknown += sorted_out.unknown
            applied.given_up += sorted_out.given_up
        _remember(site, heard)
        reply = _reply(site, request.number, heard.memory.acknowledged)
        reply.want_status = not site.has_status and request.status is None
    reply.unknown = list(dict.fromkeys(applied.unknown))
    reply.cancels = list(dict.fromkeys([*reply.cancels, *applied.given_up]))
    reply.want_inventory |= want_inventory
    return Answer(reply, _hold(reply, request) if heard.fresh else 0.0)


def look_again(site_id: int, request: SyncRequest, before: SyncReply) -> SyncReply | None:
    """What there is to say now to a request that is being held; None: nothing new.

    A request that is no longer the site's newest is let go: nobody waits for its answer.
    """
    site = peer.read(site_id)
    if site is None or site.banned:
        raise banned_site(site_id)
    if (site.memory.session, site.memory.number) != (request.session, request.number):
        return before
    reply = _reply(site, request.number, before.acknowledged)
    return reply if _orders(reply) != _orders(before) or reply.assignments else None


def check(request: SyncRequest) -> None:
    """Refuse numbers that no database takes."""
    for name, limit in (("generation", _INT), ("number", _INT), ("since", _BIG), ("through", _BIG)):
        if not 0 <= getattr(request, name) <= limit:
            raise ProblemError(400, "Bad number", f"{name}: must be from 0 to {limit}")
    for name in ("incarnation", "session"):
        if not 0 < len(getattr(request, name)) <= 64:
            raise ProblemError(400, "Bad name", f"{name}: must have 1 to 64 characters")


def _fenced(fence: Fence) -> ProblemError:
    status_code = 426 if fence is Fence.VERSION else 409
    return ProblemError(status_code, "This agent may not speak", fence_message(fence), fence=fence)


def _remember(site: Peer, heard: Heard) -> None:
    now = timezone.now()
    peer.remember(site.id, heard.memory, now)
    if site.last_seen is None or (now - site.last_seen).total_seconds() > SILENCE:
        wake.broker()


def _inventory(site: Peer, heard: Heard, request: SyncRequest) -> dispatch.Applied:
    """Lose what the agent lacks, and settle orders about attempts that it never heard of.

    An attempt that was only assigned, and that is to be cancelled or withdrawn, is in no reply that
    the agent could still take: if its inventory lacks it, it will never start there.
    """
    alive = request.inventory or []
    live = dispatch.live_at(site)
    gone = missing(heard, request, live)
    if gone:
        log.warning("site %s has no record of %d live attempts: lost", site.name, len(gone))
        dispatch.give_up(_numbers(gone), VANISHED, kill=False)
    unheard = Attempt.objects.filter(site=site.id, live=True, state=AttemptState.ASSIGNED.value)
    absent = unheard.exclude(id__in=_numbers(alive))
    for flag, state in (
        ({"cancel": True}, AttemptState.CANCELED),
        ({"withdraw": True, "cancel": False}, AttemptState.WITHDRAWN),
    ):
        if numbers := list(absent.filter(**flag).values_list("id", flat=True)):
            dispatch.settle(numbers, state, NEVER_HEARD)
    # Of what the hub gave up, the agent has ended all that it does not name.
    killed = Attempt.objects.filter(site=site.id, live=False, cancel=True)
    killed.exclude(id__in=_numbers(alive)).update(cancel=False)
    return dispatch.inventory(site, alive)


def _numbers(texts: Any) -> list[int]:
    return [n for n in map(ids.read, texts) if n is not None]


def _reply(site: Peer, number: int, acknowledged: int) -> SyncReply:
    orders = dispatch.orders(site)
    return SyncReply(
        epoch=hub.epoch(),
        number=number,
        acknowledged=acknowledged,
        assignments=dispatch.assignments(site),
        withdrawals=orders.withdrawals,
        cancels=orders.cancels,
        watched=orders.watched,
        want_inventory=orders.unaccepted,
        remove_volumes=volumes.orders(site.id),
        charters=asking.questions(site.id),
    )


def _orders(reply: SyncReply) -> tuple[frozenset[str], ...]:
    asked = [f"{one.project}/{name}" for one in reply.charters for name in one.channels]
    told = (reply.withdrawals, reply.cancels, reply.watched, reply.remove_volumes, asked)
    return tuple(frozenset(x) for x in told)


def _hold(reply: SyncReply, request: SyncRequest) -> float:
    """Seconds for which the reply may be held."""
    now = reply.assignments or reply.unknown or reply.want_status
    now = now or (reply.want_inventory and request.inventory is None)
    if now or request.epoch != reply.epoch or request.since > reply.acknowledged:
        return 0.0
    if request.reports or request.status is not None:
        return HOLD_REPORTS
    # Watching, too, is told again: the agent may have dropped the reply that first told it.
    standing = reply.cancels or reply.withdrawals or reply.watched or reply.remove_volumes
    if standing:
        return REPEAT_ORDERS
    return REPEAT_CHARTERS if reply.charters else float("inf")
