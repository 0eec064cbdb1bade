"""All that the coordinator knows, as plain data; and the tables of what may follow what.

`python -m ayni.lm.outer.state` draws the tables for the documentation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from ayni.lm.outer.codec import Codec
from ayni.lm.outer.messages import Merge, Name, Rebuild
from ayni.lm.outer.schedule import Schedule
from ayni.lm.outer.weights import DECAY, WINDOW


class LaneState(StrEnum):
    """A fragment's round."""

    COLLECTING = "collecting"
    GRACE = "grace"  # the quorum is there; those who are usual are waited for a little
    MERGING = "merging"
    REBUILDING = "rebuilding"
    DONE = "done"


class GiftState(StrEnum):
    """A contribution."""

    OFFERED = "offered"
    ACCEPTED = "accepted"
    MERGED = "merged"
    REFUSED = "refused"
    REVOKED = "revoked"  # merged into a version that was rolled back


class VersionState(StrEnum):
    PROVISIONAL = "provisional"
    COMMITTED = "committed"
    ROLLED_BACK = "rolled back"


L, G, V = LaneState, GiftState, VersionState

#: state → event → next state
LANE: Mapping[LaneState, Mapping[str, LaneState]] = {
    L.COLLECTING: {"quorum": L.GRACE, "roll back": L.REBUILDING},
    L.GRACE: {
        "all in": L.MERGING,
        "grace over": L.MERGING,
        "quorum lost": L.COLLECTING,
        "roll back": L.REBUILDING,
    },
    L.MERGING: {
        "merged": L.COLLECTING,
        "merged the last": L.DONE,
        "input lost": L.COLLECTING,
        "failed": L.COLLECTING,
        "roll back": L.REBUILDING,
    },
    L.REBUILDING: {
        "rebuilt": L.COLLECTING,
        "rebuilt the last": L.DONE,
        "try without": L.MERGING,
        "roll back": L.REBUILDING,
    },
    L.DONE: {"roll back": L.REBUILDING},
}
GIFT: Mapping[GiftState, Mapping[str, GiftState]] = {
    G.OFFERED: {"sound": G.ACCEPTED, "unsound": G.REFUSED, "out of date": G.REFUSED},
    G.ACCEPTED: {"merged": G.MERGED, "unsound": G.REFUSED, "out of date": G.REFUSED},
    G.MERGED: {"roll back": G.REVOKED},
    G.REVOKED: {"merged": G.MERGED},
    G.REFUSED: {},
}
VERSION: Mapping[VersionState, Mapping[str, VersionState]] = {
    V.PROVISIONAL: {"no harm": V.COMMITTED, "not judged": V.COMMITTED, "roll back": V.ROLLED_BACK},
    V.COMMITTED: {"roll back": V.ROLLED_BACK},
    V.ROLLED_BACK: {},
}


class IllegalMove(Exception):
    """A move that the tables do not hold: a fault in the program, never somebody's mistake."""


S = TypeVar("S", bound=StrEnum)


def moved(table: Mapping[S, Mapping[str, S]], state: S, event: str) -> S:
    """The state after `event`.

    Raises:
        IllegalMove: the table does not hold it.
    """
    try:
        return table[state][event]
    except KeyError:
        raise IllegalMove(f"{state!r} does not know {event!r}") from None


# --- what a run is told once ------------------------------------------------------------------


class Rules(BaseModel):
    """How a run's outer loop goes. Times are in seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    run: Name
    schedule: Schedule
    codec: Codec = Field(default=Codec.INT4_DEFLATE, strict=False)
    fragments: int = Field(default=1, ge=1, le=64)  # of the model, exchanged in turn
    overlap: int = Field(default=0, ge=0, le=100_000)  # inner steps from bringing to the answer
    mix: float = Field(default=0.5, gt=0, lt=1)  # of its own weights that a site keeps then
    quorum: int = Field(default=2, ge=1, le=1000)
    grace: float = Field(default=5.0, ge=0, allow_inf_nan=False)  # at least this long
    grace_share: float = Field(default=0.25, ge=0, le=10)  # of the time that the quorum took
    window: int = Field(default=WINDOW, ge=0, le=16)
    decay: float = Field(default=DECAY, ge=0, le=10)
    clip: float = Field(default=3.0, ge=1, le=100)  # × a site's usual norm: shortened to this
    refuse: float = Field(default=10.0, ge=1, le=1000)  # × the usual norm: refused
    evaluate: bool = False  # versions are provisional until sites have judged them
    harm: float = Field(default=0.05, gt=0, le=10)  # rise of a loss over its best of late, relative
    patience: float = Field(default=600.0, gt=0, allow_inf_nan=False)  # waited for judgements
    most_harms: int = Field(default=3, ge=1)  # in a row, unexplained: then the run pauses
    leave_one_out: int = Field(default=0, ge=0, le=1 << 20)  # every so many versions; 0: never
    snapshot_every: int = Field(default=10, ge=1)
    keep: int = Field(default=30, ge=1, le=10_000)  # versions that one can go back to


# --- what changes -----------------------------------------------------------------------------


@dataclass(slots=True)
class Gift:
    """A contribution as the coordinator knows it (`messages.Contributed`, and what became of it)."""

    fragment: str
    base: int
    site: str
    attempt: int
    blob: str
    size: int
    tokens: int
    steps: int
    arrived: float
    state: GiftState = GiftState.OFFERED
    norm: float | None = None
    limit: float | None = None  # to which its norm is clipped
    reason: str | None = None  # why it was refused
    core_seconds: int = 0
    gpu_seconds: int = 0

    @property
    def key(self) -> str:
        return f"{self.base}/{self.site}/{self.attempt}"

    @property
    def order(self) -> tuple[str, int, int]:
        return self.site, self.base, self.attempt


@dataclass(slots=True)
class Share:
    """What a contribution was in a version."""

    key: str
    site: str
    staleness: int
    tokens: int
    weight: float  # of 1
    clipped: float  # the factor that clipped it


@dataclass(slots=True)
class Version:
    """A global version of a fragment. Numbers are never given twice; `parent` makes the lineage.

    A version without an update has its parent's weights: a rollback to it. `params` is the address of
    its weights, as long as they are kept.
    """

    number: int
    parent: int | None
    digest: str
    step: int  # inner steps of the run, up to here
    made: float
    state: VersionState
    snapshot: bool = False  # its weights are kept, for newcomers and for going back
    update: str | None = None
    params: str | None = None
    momentum: str | None = None
    shares: list[Share] = field(default_factory=list)
    votes: dict[str, bool] = field(default_factory=dict)  # site → harm
    variants: dict[str, str] = field(default_factory=dict)  # site → what changes without it


@dataclass(slots=True)
class Trial:
    """A merge that did harm is repeated, each time without one of its sites: who is it?"""

    of: int
    gifts: list[str]
    left: list[str]  # sites still to be left out
    without: str | None = None
    version: int | None = None  # the repeated merge that is being judged


@dataclass(slots=True)
class Lane:
    """One fragment: its versions, its round, and what was brought to it."""

    fragment: str
    count: int
    head: int
    opened: float  # when the head was announced
    first: int  # inner steps of its first round: fragments take turns
    versions: dict[int, Version]
    state: LaneState = LaneState.COLLECTING
    next: int = 1
    grace_until: float | None = None
    gifts: dict[str, Gift] = field(default_factory=dict)
    job: Merge | None = None
    tries: int = 0  # merges of this version that failed
    merging: list[Share] = field(default_factory=list)
    rebuild: Rebuild | None = None
    trial: Trial | None = None
    harms: int = 0


@dataclass(slots=True)
class Habit:
    """What is usual of a site in a fragment."""

    regular: int | None = None  # the last base that it brought something for
    held: int | None = None
    diverged: int | None = None  # a version of which its copy differed
    trouble: str | None = None  # why it brings nothing to the base `troubled`
    troubled: int | None = None
    norms: list[float] = field(default_factory=list)  # an inner step each, the newest last
    losses: list[float] = field(default_factory=list)  # of what did no harm, the newest last


@dataclass(slots=True)
class Site:
    name: str
    tokens_per_step: int
    here: bool = True
    suspended: str | None = None
    heard: float = 0.0
    seq: int = -1
    doing: str = "joined"
    step: int = 0
    of: int = 0
    habits: dict[str, Habit] = field(default_factory=dict)


@dataclass(slots=True)
class Setting:
    name: str
    value: float
    from_version: int


@dataclass(slots=True)
class State:
    rules: Rules
    now: float
    lanes: dict[str, Lane]
    sites: dict[str, Site] = field(default_factory=dict)
    paused: bool = False
    why_paused: str | None = None
    settings: list[Setting] = field(default_factory=list)
    orders: list[str] = field(default_factory=list)  # wishes already granted


STATE: TypeAdapter[State] = TypeAdapter(State)


def dump(state: State) -> bytes:
    """The state as JSON."""
    return STATE.dump_json(state)


def load(text: bytes) -> State:
    """The state from JSON.

    Raises:
        pydantic.ValidationError: it is not one of this release.
    """
    return STATE.validate_json(text)


def diagram(table: Mapping[S, Mapping[str, S]]) -> str:
    """A table as a Mermaid state diagram."""

    def name(state: StrEnum) -> str:
        return state.name

    lines = ["stateDiagram-v2", f"    [*] --> {name(next(iter(table)))}"]
    for state, moves in table.items():
        lines += [f"    {name(state)} --> {name(to)}: {event}" for event, to in moves.items()]
        if not moves:
            lines.append(f"    {name(state)} --> [*]")
    return "\n".join(lines)


if __name__ == "__main__":
    print("\n\n".join([diagram(LANE), diagram(GIFT), diagram(VERSION)]))
