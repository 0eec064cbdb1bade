"""The coordinator's decisions, as one pure function of what it knows and what it hears.

`tick(state, now, events)` gives the new state, everything that is outstanding, and what goes to the
books. It does nothing itself: whoever calls it writes the state down (`journal`), then does what is
outstanding (`perform`, a transport) and brings the answers as events. Actions are levels, not edges:
each tick repeats all that is still wanted, so that a lost answer or a restart needs no memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from ayni.lm.outer.desk import Desk
from ayni.lm.outer.hearing import hear_site, inspected
from ayni.lm.outer.judging import advance_judging, compared, evaluated, rebuilt, rolled_back_by
from ayni.lm.outer.lineage import head
from ayni.lm.outer.messages import (
    Action,
    Compared,
    Evaluated,
    Event,
    Inspect,
    Inspected,
    Merged,
    MergeFailed,
    Pause,
    Readmit,
    Rebuilt,
    Record,
    Resume,
    RollBack,
    Set,
)
from ayni.lm.outer.rounds import advance_round, merge_failed, merged
from ayni.lm.outer.state import (
    GiftState,
    Lane,
    LaneState,
    Rules,
    Setting,
    State,
    Version,
    VersionState,
    dump,
    load,
)


class Turn(NamedTuple):
    """What a tick gives: the state to write down, what is outstanding, what goes to the books."""

    state: State
    actions: list[Action]
    records: list[Record]


@dataclass(frozen=True)
class Origin:
    """The weights that a fragment starts from: `count` values, their address and digest."""

    count: int
    params: str
    digest: str


def begin(rules: Rules, fragments: Mapping[str, Origin], now: float) -> State:
    """The state of a run that has not begun. Fragments take turns in the order of their names."""
    lanes = {}
    for place, (name, origin) in enumerate(sorted(fragments.items())):
        first = Version(
            number=0,
            parent=None,
            digest=origin.digest,
            step=0,
            made=now,
            state=VersionState.COMMITTED,
            snapshot=True,
            params=origin.params,
        )
        turn = rules.schedule.turn(place, len(fragments))
        lanes[name] = Lane(name, origin.count, head=0, opened=now, first=turn, versions={0: first})
    return State(rules=rules, now=now, lanes=lanes)


def tick(state: State, now: float, events: Iterable[Event] = ()) -> Turn:
    """One step. The state given is left as it is.

    Args:
        now: in seconds, of any clock; it is never taken back.
        events: what happened since, in the order heard.
    """
    desk = Desk(load(dump(state)))
    desk.state.now = max(now, state.now)
    for event in events:
        _hear(desk, event)
    for _, lane in sorted(desk.state.lanes.items()):
        advance_judging(desk, lane)
        advance_round(desk, lane)
    return Turn(desk.state, outstanding(desk.state), desk.records)


def outstanding(state: State) -> list[Action]:
    """All that is wanted now: also what a new process has to do first."""
    actions: list[Action] = []
    for _, lane in sorted(state.lanes.items()):
        for gift in sorted(lane.gifts.values(), key=lambda g: g.order):
            if gift.state is GiftState.OFFERED:
                actions.append(
                    Inspect(
                        fragment=gift.fragment,
                        base=gift.base,
                        site=gift.site,
                        attempt=gift.attempt,
                        blob=gift.blob,
                        size=gift.size,
                        count=lane.count,
                    )
                )
        if lane.job is not None:
            actions.append(lane.job)
        if lane.rebuild is not None:
            actions.append(lane.rebuild)
        if lane.state is not LaneState.REBUILDING:
            actions.append(head(state, lane))
    return actions


def _hear(desk: Desk, event: Event) -> None:
    match event:
        case Inspected():
            inspected(desk, event)
        case Merged():
            merged(desk, event)
        case MergeFailed():
            merge_failed(desk, event)
        case Rebuilt():
            rebuilt(desk, event)
        case Evaluated():
            evaluated(desk, event)
        case Compared():
            compared(desk, event)
        case Pause():
            desk.state.paused, desk.state.why_paused = True, "ordered"
        case Resume():
            _resume(desk)
        case RollBack():
            rolled_back_by(desk, event)
        case Set():
            _set(desk, event)
        case Readmit():
            _readmit(desk, event)
        case _:
            hear_site(desk, event)


def _resume(desk: Desk) -> None:
    if not desk.state.paused:
        return
    desk.state.paused, desk.state.why_paused = False, None
    for lane in desk.state.lanes.values():
        lane.opened = desk.state.now  # a pause is not counted as time that the round took


def _set(desk: Desk, wish: Set) -> None:
    setting = Setting(wish.name, wish.value, wish.from_version)
    if setting in desk.state.settings:
        return
    if wish.name == "lr":  # what was usual of a step is no longer
        for site in desk.state.sites.values():
            for habit in site.habits.values():
                habit.norms = []
    others = [
        s for s in desk.state.settings if (s.name, s.from_version) != (wish.name, wish.from_version)
    ]
    desk.state.settings = [*others, setting]
    key = f"{wish.name}/{wish.from_version}/{wish.value}"
    desk.note("set", key, name=wish.name, value=wish.value, from_version=wish.from_version)


def _readmit(desk: Desk, wish: Readmit) -> None:
    site = desk.state.sites.get(wish.site)
    if site is None or wish.order in desk.state.orders:
        return
    desk.state.orders.append(wish.order)
    site.suspended = None
    desk.note("readmitted", f"{wish.site}/{wish.order}", site=wish.site)
