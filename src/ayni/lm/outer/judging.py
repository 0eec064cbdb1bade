"""Versions judged by the sites' held-out losses: kept, or rolled back; and who it was.

A version is announced as soon as it is merged, so nobody waits; it stays provisional until the sites
have said what it did to their loss. If it did harm to more than half of them, its parent's weights
come back, and the merge is repeated without one of its sites at a time: the one without which there
is no harm is suspended. That holds against one bad site of three; not against two.
"""

from __future__ import annotations

from ayni.lm.outer.desk import Desk
from ayni.lm.outer.hearing import HISTORY, remember_norm
from ayni.lm.outer.lineage import line, path, round_length
from ayni.lm.outer.messages import Compared, Evaluated, Rebuild, Rebuilt, RollBack
from ayni.lm.outer.rounds import begin_merge, new_head
from ayni.lm.outer.state import (
    GIFT,
    LANE,
    VERSION,
    Habit,
    Lane,
    Rules,
    Trial,
    Version,
    VersionState,
    moved,
)


def evaluated(desk: Desk, event: Evaluated) -> None:
    """A site's judgement of a version. Its first one counts."""
    state = desk.state
    lane, site = state.lanes.get(event.fragment), state.sites.get(event.site)
    version = lane.versions.get(event.version) if lane else None
    if site is None or version is None or event.site in version.votes:
        return
    harm = _harms(state.rules, site.habits[event.fragment], event)
    version.votes[event.site] = harm
    desk.note(
        "evaluated",
        f"{event.fragment}/{event.version}/{event.site}",
        fragment=event.fragment,
        version=event.version,
        site=event.site,
        before=event.before,
        after=event.after,
        harm=harm,
    )


def compared(desk: Desk, event: Compared) -> None:
    """What a version would be without one site, as another one sees it. For the books only."""
    state = desk.state
    lane = state.lanes.get(event.fragment)
    version = lane.versions.get(event.version) if lane else None
    site, every = state.sites.get(event.site), state.rules.leave_one_out
    if site is None or site.suspended is not None or version is None or event.site == event.without:
        return
    if not every or version.number % every or event.without not in {s.site for s in version.shares}:
        return
    desk.note(
        "compared",
        f"{event.fragment}/{event.version}/{event.without}/{event.site}",
        fragment=event.fragment,
        version=event.version,
        without=event.without,
        site=event.site,
        loss=event.loss,
        other=event.other,
    )


def _harms(rules: Rules, habit: Habit, event: Evaluated) -> bool:
    """Whether a loss rose too much over the best of late: at once, or in small steps."""
    seen = [*habit.losses, event.before]
    best = min(seen)
    if event.after is None or event.after > best + rules.harm * abs(best):
        return True
    habit.losses = [*seen, event.after][-HISTORY:]
    return False


def advance_judging(desk: Desk, lane: Lane) -> None:
    """Judge what can be judged, the oldest first."""
    for version in reversed(list(line(lane))):
        if version.state is not VersionState.PROVISIONAL:
            continue
        verdict = _verdict(desk, lane, version)
        if verdict is None:
            continue
        version.state = moved(VERSION, version.state, verdict)
        desk.note(
            "judged",
            f"{lane.fragment}/{version.number}",
            fragment=lane.fragment,
            version=version.number,
            verdict="harm" if verdict == "roll back" else verdict,
        )
        if verdict == "roll back":
            _harmed(desk, lane, version)
            return
        _kept(desk, lane, version, verdict)


def _verdict(desk: Desk, lane: Lane, version: Version) -> str | None:
    """The event of the table, or None: not yet. Nobody judges alone what it brought alone."""
    givers = {share.site for share in version.shares}
    sole = givers if len(givers) == 1 else set()
    judges = {
        site.name
        for site in desk.state.sites.values()
        if site.here and site.suspended is None and site.name not in sole
    }
    votes = [version.votes[name] for name in sorted(judges) if name in version.votes]
    harm = votes.count(True)
    if 2 * harm > len(judges):
        return "roll back"
    if len(votes) == len(judges):
        return "no harm" if judges else "not judged"
    awaited = {
        name for name in judges - set(version.votes) if not _is_gone(desk, lane, version, name)
    }
    if awaited and desk.state.now < version.made + desk.state.rules.patience:
        return None
    if len(votes) < 2:
        return "not judged"
    return "roll back" if 2 * harm > len(votes) else "no harm"


def _is_gone(desk: Desk, lane: Lane, version: Version, name: str) -> bool:
    """Whether a site is not waited for: it has said nothing for `patience`, nor since the version before."""
    before = lane.versions.get(-1 if version.parent is None else version.parent, version)
    return desk.state.sites[name].heard < min(
        desk.state.now - desk.state.rules.patience, before.made
    )


def _kept(desk: Desk, lane: Lane, version: Version, verdict: str) -> None:
    lane.harms = 0
    for share in version.shares:
        if share.key in lane.gifts:
            remember_norm(desk.state.sites[share.site], lane.gifts[share.key], share.clipped)
    trial = lane.trial
    if trial is None or trial.version != version.number:
        return
    lane.trial = None
    if verdict == "no harm" and trial.without is not None:
        site = desk.state.sites[trial.without]
        site.suspended = f"version {trial.of} did harm with what it brought, and none without"
        desk.alarm(
            f"suspended/{lane.fragment}/{trial.of}",
            lane,
            f"{site.name} is suspended: {site.suspended}",
        )


def _harmed(desk: Desk, lane: Lane, version: Version) -> None:
    """Take the version back, and see who it was."""
    lane.harms += 1
    if lane.trial is None or lane.trial.version != version.number:
        sites = {share.site for share in version.shares}
        keys = [share.key for share in version.shares]
        order = sorted(sites, key=lambda name: (-_unusual(lane, keys, name), name))
        lane.trial = Trial(version.number, keys, order if len(sites) > 1 else [])
    lane.trial.without = lane.trial.version = None
    if lane.harms >= desk.state.rules.most_harms and not lane.trial.left:
        desk.state.paused = True
        desk.state.why_paused = f"{lane.harms} merges in a row did harm, and no one site alone"
        desk.alarm(f"paused/{lane.fragment}/{version.number}", lane, desk.state.why_paused)
    assert version.parent is not None
    roll_back(desk, lane, version.parent, "harm")


def _unusual(lane: Lane, keys: list[str], site: str) -> float:
    """How near a site's contributions were to being clipped."""
    gifts = [lane.gifts[key] for key in keys if lane.gifts[key].site == site]
    return max(((g.norm or 0.0) / g.limit for g in gifts if g.limit), default=0.0)


# --- going back -------------------------------------------------------------------------------


def roll_back(desk: Desk, lane: Lane, to: int, why: str) -> None:
    """Bring back a version's weights as a new version. Momentum begins anew: it led here."""
    for version in line(lane):
        if version.number == to:
            break
        if version.state is not VersionState.ROLLED_BACK:
            version.state = moved(VERSION, version.state, "roll back")
        for share in version.shares:
            gift = lane.gifts.get(share.key)
            if gift is not None and gift.state == "merged":
                gift.state = moved(GIFT, gift.state, "roll back")
        key = f"{lane.fragment}/{version.number}"
        desk.note("rolled back", key, fragment=lane.fragment, version=version.number, why=why)
    anchor, links = path(lane, to, lambda v: True)
    assert anchor.params is not None
    lane.job, lane.merging, lane.grace_until = None, [], None
    lane.rebuild = Rebuild(
        fragment=lane.fragment,
        version=lane.next,
        to=to,
        count=lane.count,
        params=anchor.params,
        updates=tuple(v.update for v in links if v.update is not None),
    )
    lane.next += 1
    lane.state = moved(LANE, lane.state, "roll back")


def rebuilt(desk: Desk, event: Rebuilt) -> None:
    """The older weights are there: announce them, and go on."""
    lane = desk.state.lanes.get(event.fragment)
    job = lane.rebuild if lane else None
    if lane is None or job is None or job.version != event.version:
        return
    old = lane.versions[job.to]
    if event.digest != old.digest:
        desk.state.paused = True
        desk.state.why_paused = (
            f"version {old.number} was rebuilt to other weights: look at the disk"
        )
        desk.alarm(f"rebuilt/{lane.fragment}/{job.version}", lane, desk.state.why_paused)
        return
    version = Version(
        number=job.version,
        parent=old.number,
        digest=old.digest,
        step=old.step,
        made=desk.state.now,
        state=VersionState.COMMITTED,
        params=event.params,
    )
    lane.versions[version.number] = version
    lane.rebuild = None
    again = lane.trial is not None and bool(lane.trial.left)
    if lane.trial is not None and not again:
        text = f"version {lane.trial.of} did harm, and no one site alone: what it merged is lost"
        desk.alarm(f"harm/{lane.fragment}/{lane.trial.of}", lane, text)
        lane.trial = None
    new_head(desk, lane, version)
    if again:
        _try_without(desk, lane)
        return
    last = round_length(desk.state, lane, version) == 0
    lane.state = moved(LANE, lane.state, "rebuilt the last" if last else "rebuilt")


def _try_without(desk: Desk, lane: Lane) -> None:
    """Repeat the merge that did harm, with the weights that it had, but for one site's."""
    trial = lane.trial
    assert trial is not None
    trial.without = trial.left.pop(0)
    behind = {share.key: share.staleness for share in lane.versions[trial.of].shares}
    gifts = [lane.gifts[key] for key in trial.gifts if lane.gifts[key].site != trial.without]
    begin_merge(desk, lane, gifts, [behind[gift.key] for gift in gifts], "try without")


def rolled_back_by(desk: Desk, wish: RollBack) -> None:
    """A person wants an older version back, in every fragment."""
    state = desk.state
    if wish.order in state.orders:
        return
    state.orders.append(wish.order)
    lanes = [lane for _, lane in sorted(state.lanes.items())]
    lost = [lane.fragment for lane in lanes if wish.to not in {v.number for v in line(lane)}]
    if lost:
        text = f"no way back to version {wish.to} of {', '.join(lost)}: it is not kept"
        desk.alarm(f"order/{wish.order}", None, text)
        return
    for lane in lanes:
        lane.trial = None
        roll_back(desk, lane, wish.to, "order")
    for site in state.sites.values():
        for habit in site.habits.values():
            habit.losses = []  # the best of late was on the way that is left
