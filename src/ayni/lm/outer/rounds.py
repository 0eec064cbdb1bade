"""A fragment's round: who is waited for, what is merged, and what a merge makes."""

from __future__ import annotations

from ayni.lm.outer.desk import Desk, Value
from ayni.lm.outer.hearing import limit, outsized, remember_norm
from ayni.lm.outer.lineage import WAITING, round_length, setting, staleness, tidy
from ayni.lm.outer.messages import Input, LeaveOut, Merge, Merged, MergeFailed
from ayni.lm.outer.state import (
    GIFT,
    LANE,
    Gift,
    GiftState,
    Lane,
    LaneState,
    Share,
    Version,
    VersionState,
    moved,
)
from ayni.lm.outer.weights import clip, raw_weight, shares


def advance_round(desk: Desk, lane: Lane) -> None:
    """Open the grace window, or begin to merge, when it is time."""
    state, rules = desk.state, desk.state.rules
    if state.paused or lane.state not in (LaneState.COLLECTING, LaneState.GRACE):
        return
    present = {gift.site for gift in ready(desk, lane)}
    if len(present) < rules.quorum:
        if lane.state is LaneState.GRACE:
            lane.state, lane.grace_until = moved(LANE, lane.state, "quorum lost"), None
        return
    if lane.state is LaneState.COLLECTING:
        lane.state = moved(LANE, lane.state, "quorum")
        grace = max(rules.grace, rules.grace_share * (state.now - lane.opened))
        lane.grace_until = state.now + grace
    assert lane.grace_until is not None
    all_in = awaited(desk, lane) <= present
    if not all_in and state.now < lane.grace_until:
        return
    if found := outsized(state, ready(desk, lane)):
        for gift, times in found:
            reason = f"its norm is {times:.1f} times the round's, and nothing is usual of it yet"
            desk.refuse(gift, "unsound", reason)
        advance_round(desk, lane)  # is there a quorum without them?
        return
    _begin(desk, lane, "all in" if all_in else "grace over")


def ready(desk: Desk, lane: Lane) -> list[Gift]:
    """The accepted contributions that the next merge takes, in order; of several attempts the last."""
    out = lane.trial.without if lane.trial else None
    chosen: dict[tuple[str, int], Gift] = {}
    for gift in sorted(lane.gifts.values(), key=lambda g: g.order):
        fit = gift.state is GiftState.ACCEPTED and gift.site != out
        if fit and desk.state.sites[gift.site].suspended is None:
            chosen[gift.site, gift.base] = gift
    return list(chosen.values())


def awaited(desk: Desk, lane: Lane) -> set[str]:
    """The sites that are usual in this fragment and have not said that they bring nothing."""
    out = lane.trial.without if lane.trial else None
    found = set()
    for site in desk.state.sites.values():
        habit = site.habits[lane.fragment]
        fit = site.here and site.suspended is None and site.name != out
        usual = habit.regular is not None and (
            staleness(lane, habit.regular, desk.state.rules.window) is not None
        )
        if fit and usual and habit.troubled != lane.head:
            found.add(site.name)
    return found


# --- merging ----------------------------------------------------------------------------------


def _begin(desk: Desk, lane: Lane, event: str) -> None:
    gifts = ready(desk, lane)
    late = [staleness(lane, gift.base, desk.state.rules.window) or 0 for gift in gifts]
    begin_merge(desk, lane, gifts, late, event)


def begin_merge(desk: Desk, lane: Lane, gifts: list[Gift], late: list[int], event: str) -> None:
    """Freeze what is merged onto the head, and with which weights."""
    state, rules = desk.state, desk.state.rules
    head = lane.versions[lane.head]
    raw = [raw_weight(g.tokens, s, rules.decay) for g, s in zip(gifts, late, strict=True)]
    lane.merging = [
        Share(g.key, g.site, s, g.tokens, weight, clip(g.norm or 0.0, limit(state, g, gifts)))
        for g, s, weight in zip(gifts, late, shares(raw), strict=True)
    ]
    phase = rules.schedule.at(head.step)
    lr = setting(state, "outer_lr", head.number)
    momentum = setting(state, "outer_momentum", head.number)
    assert head.params is not None
    lane.job = Merge(
        fragment=lane.fragment,
        version=lane.next,
        attempt=lane.tries,
        count=lane.count,
        inputs=_inputs(lane),
        lr=phase.lr if lr is None else lr,
        momentum=phase.momentum if momentum is None else momentum,
        speed=head.momentum,
        params=head.params,
        before=head.update,
        codec=rules.codec,
        leave_out=_leave_out(desk, lane, raw),
    )
    lane.next += 1
    lane.state, lane.grace_until = moved(LANE, lane.state, event), None


def _leave_out(desk: Desk, lane: Lane, raw: list[float]) -> tuple[LeaveOut, ...]:
    """The merge without each of its sites, every so many versions."""
    every = desk.state.rules.leave_one_out
    sites = sorted({share.site for share in lane.merging})
    if not every or lane.next % every or len(sites) < 2:
        return ()
    found = []
    for site in sites:
        rest = [
            (share, weight)
            for share, weight in zip(lane.merging, raw, strict=True)
            if share.site != site
        ]
        others = shares([weight for _, weight in rest])
        weights = tuple(w * share.clipped for (share, _), w in zip(rest, others, strict=True))
        found.append(LeaveOut(site=site, weights=weights))
    return tuple(found)


def _inputs(lane: Lane) -> tuple[Input, ...]:
    return tuple(
        Input(
            key=share.key,
            site=share.site,
            blob=lane.gifts[share.key].blob,
            weight=share.weight * share.clipped,
        )
        for share in lane.merging
    )


def merged(desk: Desk, event: Merged) -> None:
    """A merge was done: there is a new head."""
    lane = desk.state.lanes.get(event.fragment)
    job = lane.job if lane else None
    if lane is None or job is None or (job.version, job.attempt) != (event.version, event.attempt):
        return
    rules, parent = desk.state.rules, lane.versions[lane.head]
    version = Version(
        number=job.version,
        parent=parent.number,
        digest=event.digest,
        step=parent.step + round_length(desk.state, lane, parent),
        made=desk.state.now,
        state=VersionState.PROVISIONAL if rules.evaluate else VersionState.COMMITTED,
        snapshot=job.version % rules.snapshot_every == 0,
        update=event.update,
        params=event.params,
        momentum=event.momentum,
        shares=lane.merging,
        variants={one.site: one.change for one in event.variants},
    )
    lane.versions[version.number] = version
    lane.job, lane.merging, lane.tries = None, [], 0
    for share in version.shares:
        _booked(desk, lane, version, share)
    if lane.trial is not None and lane.trial.version is None:
        lane.trial.version = version.number
    last = round_length(desk.state, lane, version) == 0
    lane.state = moved(LANE, lane.state, "merged the last" if last else "merged")
    desk.note(
        "version",
        f"{lane.fragment}/{version.number}",
        fragment=lane.fragment,
        version=version.number,
        parent=version.parent,
        step=version.step,
        digest=version.digest,
        norm=event.norm,
        lr=job.lr,
        momentum=job.momentum,
        **{f"cosine {pair}": value for pair, value in sorted(event.cosines.items())},
    )
    new_head(desk, lane, version)


def _booked(desk: Desk, lane: Lane, version: Version, share: Share) -> None:
    """The contribution on record; and what it says of its site's habits."""
    gift = lane.gifts[share.key]
    gift.state = moved(GIFT, gift.state, "merged")
    site = desk.state.sites[share.site]
    habit = site.habits[lane.fragment]
    habit.regular = max(gift.base, -1 if habit.regular is None else habit.regular)
    if version.state is VersionState.COMMITTED:
        remember_norm(site, gift, share.clipped)
    desk.note(
        "merged",
        f"{lane.fragment}/{version.number}/{share.key}",
        fragment=lane.fragment,
        version=version.number,
        site=share.site,
        base=gift.base,
        attempt=gift.attempt,
        staleness=share.staleness,
        tokens=gift.tokens,
        bytes=gift.size,
        weight=share.weight,
        clipped=share.clipped,
        norm=gift.norm,
        **_spent(gift),
    )


def _spent(gift: Gift) -> dict[str, Value]:
    """What the site says that it took; nothing where it says nothing."""
    found = {"core_seconds": gift.core_seconds, "gpu_seconds": gift.gpu_seconds}
    return {name: seconds for name, seconds in found.items() if seconds}


def new_head(desk: Desk, lane: Lane, version: Version) -> None:
    """Announce a version, and refuse what no longer fits beneath it."""
    lane.head, lane.opened = version.number, desk.state.now
    taken = {
        (g.site, g.base)
        for g in lane.gifts.values()
        if g.state in (GiftState.MERGED, GiftState.REVOKED)
    }
    for gift in sorted(lane.gifts.values(), key=lambda g: g.order):
        if gift.state not in WAITING:
            continue
        if (gift.site, gift.base) in taken:
            desk.refuse(gift, "out of date", "another attempt at this base was merged")
        elif staleness(lane, gift.base, desk.state.rules.window) is None:
            why = f"version {gift.base} is too far behind {lane.head}, or was rolled back"
            desk.refuse(gift, "out of date", why)
    tidy(desk.state, lane)


def merge_failed(desk: Desk, event: MergeFailed) -> None:
    """An input was lost or damaged between inspection and merge: go on without it.

    Where no one input is at fault, none of them is merged and the run pauses: a person goes back, also to
    the head itself, from which the sites then train anew and momentum begins anew.
    """
    lane = desk.state.lanes.get(event.fragment)
    job = lane.job if lane else None
    if lane is None or job is None or (job.version, job.attempt) != (event.version, event.attempt):
        return
    inputs = {one.key for one in job.inputs}
    if event.input is not None and event.input not in inputs & lane.gifts.keys():
        return
    lane.job, lane.merging = None, []
    lane.next, lane.tries = job.version, lane.tries + 1
    lane.state = moved(LANE, lane.state, "failed" if event.input is None else "input lost")
    if lane.trial is not None:
        lane.trial = None
        desk.alarm(f"trial/{lane.fragment}/{event.version}", lane, "the search for who harms ended")
    if event.input is None:
        why = (
            f"version {event.version} cannot be made: {event.problem}; roll back to {lane.head} or "
            "before, and resume"
        )
        desk.state.paused, desk.state.why_paused = True, why
        desk.alarm(f"paused/{lane.fragment}/{event.version}/{event.attempt}", lane, why)
    for key in sorted(inputs) if event.input is None else [event.input]:
        gift = lane.gifts[key]
        if gift.state is GiftState.ACCEPTED:
            desk.refuse(gift, "unsound", event.problem)
