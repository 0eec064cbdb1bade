"""The rules of one sync, for both sides, as pure functions and one small state machine.

* Sequence: every change of an attempt at a site takes the next number of the site's journal. A
  request carries the newest snapshot of each attempt that changed in `(since, through]`.
* Acknowledgement: the hub remembers the highest `through` that followed on what it had. If it went
  back in time (a restored backup), its acknowledgement is lower than the agent's memory, and the
  agent sends again from there; it keeps what it reported for 30 days. If the agent went back in
  time, the acknowledgement is higher than its journal's newest number: it counts on from there.
* Fencing: one incarnation (journal) speaks for a site, and of that the newest generation (process).
  A copy of the journal that runs beside the original has the same generation and another session:
  it is refused. An attempt that the hub gave up stays given up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from ayni.protocol.attempts import FINAL, AttemptState, reachable
from ayni.protocol.messages import (
    OLDEST_VERSION,
    VERSION,
    Report,
    SiteStatus,
    SyncReply,
    SyncRequest,
)

KEEP = 30 * 86400  # seconds for which an agent keeps acknowledged reports


# --- the hub's side ---------------------------------------------------------------------------


class Fence(StrEnum):
    """Why a request is not heard at all."""

    VERSION = "version"
    INCARNATION = "incarnation"
    GENERATION = "generation"
    SESSION = "session"


@dataclass(frozen=True, slots=True)
class SiteMemory:
    """What the hub remembers of its talk with a site."""

    incarnation: str | None = None
    generation: int = 0
    session: str = ""
    number: int = 0
    acknowledged: int = 0


@dataclass(frozen=True, slots=True)
class Heard:
    """What the hub makes of a request."""

    memory: SiteMemory
    fresh: bool  # newer than any request heard before: its status counts
    rewound: bool = False  # the agent remembers more than the hub: the hub lost something
    fence: Fence | None = None


FENCE_TEXT = {
    Fence.VERSION: "this hub speaks protocol versions {low} to {high}; upgrade the agent or the hub",
    Fence.INCARNATION: (
        "another journal speaks for this site; if the old one is lost, "
        "register the site again with a new code"
    ),
    Fence.GENERATION: "a newer start of this agent has taken over; this process must stop",
    Fence.SESSION: "a copy of this agent's journal is running elsewhere; stop one of the two",
}


def fence_message(fence: Fence) -> str:
    return FENCE_TEXT[fence].format(low=OLDEST_VERSION, high=VERSION)


def hear(memory: SiteMemory, request: SyncRequest) -> Heard:
    """Judge a request by what is remembered, and say what to remember next."""
    if not OLDEST_VERSION <= request.protocol <= VERSION + 1:
        return Heard(memory, fresh=False, fence=Fence.VERSION)
    if memory.incarnation is not None and request.incarnation != memory.incarnation:
        return Heard(memory, fresh=False, fence=Fence.INCARNATION)
    if request.generation < memory.generation:
        return Heard(memory, fresh=False, fence=Fence.GENERATION)
    same_start = request.generation == memory.generation
    if same_start and memory.session and request.session != memory.session:
        return Heard(memory, fresh=False, fence=Fence.SESSION)
    fresh = not same_start or request.number > memory.number
    acknowledged = memory.acknowledged
    rewound = request.since > acknowledged
    if not rewound:
        acknowledged = max(acknowledged, request.through)
    heard = replace(
        memory,
        incarnation=request.incarnation,
        generation=request.generation,
        session=request.session,
        number=max(request.number, memory.number) if same_start else request.number,
        acknowledged=acknowledged,
    )
    return Heard(heard, fresh=fresh, rewound=rewound)


@dataclass(frozen=True, slots=True)
class Known:
    """What the hub has of one attempt when a report on it arrives."""

    state: AttemptState
    seq: int
    superseded: bool = False


def missing(heard: Heard, request: SyncRequest, live: Mapping[str, AttemptState]) -> frozenset[str]:
    """Which of the site's live attempts its agent has no more, so that they are lost.

    Only an inventory that is fresh and follows on what the hub has can say so: after a rewind the
    end of an attempt may be in reports that are still to come. An attempt that the agent has not
    accepted yet is not missing; it is sent again.
    """
    if request.inventory is None or not heard.fresh or heard.rewound or heard.fence:
        return frozenset()
    accepted = {a for a, state in live.items() if state is not AttemptState.ASSIGNED}
    return frozenset(accepted.difference(request.inventory))


class Taken(StrEnum):
    """What becomes of a report."""

    APPLY = "apply"
    STALE = "stale"  # heard before, or older than what was heard
    USAGE_ONLY = (
        "usage_only"  # of an attempt given up: its outputs are refused, its usage is booked
    )
    ILLEGAL = "illegal"  # no such move: a fault in the agent, noted and passed over


def take(known: Known, report: Report) -> Taken:
    """Decide on one report. A final attempt may still be reported on: its usage may come late."""
    if report.seq <= known.seq:
        return Taken.STALE
    if known.superseded or known.state is AttemptState.LOST:
        return Taken.USAGE_ONLY
    if known.state in FINAL:
        return Taken.USAGE_ONLY if report.state is known.state else Taken.ILLEGAL
    return Taken.APPLY if reachable(known.state, report.state) else Taken.ILLEGAL


# --- the agent's side -------------------------------------------------------------------------


@dataclass(slots=True)
class AgentSide:
    """The agent's half of the conversation. It holds no attempts: the journal does.

    `acknowledged` and `epoch` are persisted by the journal after every `hear`.
    """

    incarnation: str
    generation: int
    session: str
    epoch: str | None = None
    acknowledged: int = 0
    number: int = 0
    inventory_due: bool = True
    status_due: bool = True
    _answered: bool = True  # the last request was
    _told_inventory: bool = False  # by the last request
    _told_status: bool = False

    def request(
        self,
        reports: Sequence[Report],
        newest: int,
        *,
        complete: bool,
        status: Callable[[], SiteStatus] | None = None,
        inventory: Callable[[], list[str]] | None = None,
        wait: float = 0.0,
    ) -> SyncRequest:
        """The next request.

        Args:
            reports: what changed after `acknowledged`, in the order of `seq`; may be a first part.
            newest: the journal's newest sequence number.
            complete: whether `reports` holds all that changed up to `newest`.
            status: what the site offers; asked only when it is due.
            inventory: the live attempts; asked only when it is due and `reports` are complete, since
                an attempt that is missing from it is taken for lost unless its end was told.
            wait: seconds that the hub may hold the request open.
        """
        if not self._answered:  # nobody knows whether the last one arrived: say it again
            self.status_due |= self._told_status
            self.inventory_due |= self._told_inventory
        self._told_status = self.status_due and status is not None
        self._told_inventory = self.inventory_due and complete and inventory is not None
        self.status_due &= not self._told_status
        self.inventory_due &= not self._told_inventory
        self._answered = False
        self.number += 1
        through = newest if complete else reports[-1].seq
        return SyncRequest(
            incarnation=self.incarnation,
            generation=self.generation,
            session=self.session,
            number=self.number,
            epoch=self.epoch,
            since=self.acknowledged,
            through=max(through, self.acknowledged),
            reports=list(reports),
            status=status() if status and self._told_status else None,
            inventory=inventory() if inventory and self._told_inventory else None,
            wait=wait if complete else 0.0,
        )

    def hear(self, reply: SyncReply) -> bool:
        """Take a reply in; False if it answers an older request and must be dropped."""
        if reply.number != self.number or self._answered:
            return False
        self._answered = True
        if reply.epoch != self.epoch:  # another hub, or an older one: it gets what it lacks
            self.epoch = reply.epoch
            self.inventory_due |= not self._told_inventory
            self.status_due |= not self._told_status
        self.acknowledged = reply.acknowledged
        self.inventory_due |= reply.want_inventory
        self.status_due |= reply.want_status
        return True

    def is_behind(self, newest: int) -> bool:
        """Whether the hub has heard more than the journal holds: the journal went back in time.

        The journal must then count on from `acknowledged` and report its live attempts anew, or the
        hub takes its reports for old ones.
        """
        return self.acknowledged > newest
