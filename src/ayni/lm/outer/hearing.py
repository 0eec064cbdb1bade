"""What sites say: taken in, or refused with a reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median, median_low

from ayni.lm.outer.codec import Codec, blob_size
from ayni.lm.outer.desk import Desk
from ayni.lm.outer.lineage import oldest_base, round_length, staleness
from ayni.lm.outer.messages import (
    Contributed,
    Discarded,
    Failed,
    Held,
    Inspected,
    Joined,
    Left,
    Progressed,
    Rejected,
    SiteEvent,
    nonce_of,
)
from ayni.lm.outer.state import GIFT, Gift, GiftState, Habit, Lane, Site, State, moved

MOST_ATTEMPTS = 16  # at one base: what a site can make the coordinator remember
HISTORY = 16  # norms that are remembered of a site
ENOUGH = 3  # of them say what is usual
_FEW = 3  # sites that say who of them is unusual
_APART = 2  # times what is usual of the others: more is usual of nobody


def hear_site(desk: Desk, event: SiteEvent) -> None:
    """Take in what a site says, but for evaluations."""
    if isinstance(event, Rejected):
        key = f"{event.claimed}/{event.digest}"
        desk.note("rejected", key, site=event.claimed, reason=event.reason)
        return
    if isinstance(event, Joined):
        _joined(desk, event)
        return
    site = desk.state.sites.get(event.site)
    if isinstance(event, Left):
        _left(desk, site, event)
        return
    if isinstance(event, Failed):
        _failed(desk, site, event)
        return
    if site is None:
        desk.note("unknown site", event.site, site=event.site)
        return
    site.heard = desk.state.now
    match event:
        case Progressed():
            _progressed(site, event)
        case _ if event.fragment not in desk.state.lanes:
            desk.note("unknown fragment", site.name, site=site.name)
        case Held():
            _held(desk, site, event)
        case Discarded() if event.base < desk.state.lanes[event.fragment].next:
            _discarded(desk, event)
        case Contributed():
            _contributed(desk, site, event)


def _joined(desk: Desk, event: Joined) -> None:
    site = desk.state.sites.get(event.site)
    if site is None:
        site = Site(event.site, event.tokens_per_step)
        for name, lane in sorted(desk.state.lanes.items()):
            # Before the first merge everybody is usual; later a newcomer is waited for by nobody.
            first = lane.versions[lane.head].parent is None and lane.next == 1
            site.habits[name] = Habit(regular=lane.head if first else None)
        desk.state.sites[event.site] = site
        desk.note("joined", event.site, site=event.site)
    site.here = True
    site.heard = desk.state.now


def _progressed(site: Site, event: Progressed) -> None:
    if event.seq > site.seq:
        site.seq, site.doing, site.step, site.of = event.seq, event.doing, event.step, event.of


def _held(desk: Desk, site: Site, event: Held) -> None:
    habit = site.habits[event.fragment]
    habit.held = max(event.version, habit.held or 0)
    version = desk.state.lanes[event.fragment].versions.get(event.version)
    if version is None:
        return
    if version.digest != event.digest:
        _diverged(desk, site, event.fragment, event.version)
    elif habit.diverged is not None and habit.diverged <= event.version:
        habit.diverged = None


def _diverged(desk: Desk, site: Site, fragment: str, version: int) -> None:
    site.habits[fragment].diverged = version
    text = f"{site.name} has other weights than version {version}: it must take the snapshot"
    desk.alarm(f"diverged/{fragment}/{version}/{site.name}", desk.state.lanes[fragment], text)


def _discarded(desk: Desk, event: Discarded) -> None:
    desk.note(
        "discarded",
        f"{event.fragment}/{event.base}/{event.site}",
        fragment=event.fragment,
        site=event.site,
        steps=event.steps,
        tokens=event.tokens,
    )


def _left(desk: Desk, site: Site | None, event: Left) -> None:
    """Also of a site that never joined."""
    if site is not None:
        site.here = False
    key = f"{event.site}/{event.task or (site.seq if site else None)}"
    desk.note("left", key, site=event.site, **({"reason": event.reason} if event.reason else {}))


def _failed(desk: Desk, site: Site | None, event: Failed) -> None:
    """Also of a site that did not come as far as joining, and so knows no fragment and no version."""
    if site is not None:
        site.heard = desk.state.now
    habit = site.habits.get(event.fragment) if site else None
    if habit is None:
        desk.note("failed", f"{event.site}/{event.reason}", site=event.site, reason=event.reason)
        return
    if event.base >= desk.state.lanes[event.fragment].next or event.attempt >= MOST_ATTEMPTS:
        return  # there is no end of versions that there never were
    if habit.troubled is None or event.base >= habit.troubled:
        habit.trouble, habit.troubled = event.reason, event.base
    key = f"{event.fragment}/{event.key}"
    desk.note("failed", key, fragment=event.fragment, site=event.site, reason=event.reason)


def _contributed(desk: Desk, site: Site, event: Contributed) -> None:
    lane = desk.state.lanes[event.fragment]
    known = lane.gifts.get(event.key)
    if known is not None:
        same = (known.blob, known.size, known.tokens, known.steps)
        if same != (event.blob, event.size, event.tokens, event.steps):
            text = f"{site.name} sent two payloads as {event.key}: the first counts"
            desk.alarm(f"disputed/{lane.fragment}/{event.key}", lane, text)
        return
    reason = _objection(desk, lane, site, event)
    few = event.attempt < MOST_ATTEMPTS
    if reason is not None and few and event.base < oldest_base(lane, desk.state.rules.window):
        desk.refused(lane.fragment, event.key, site.name, event.tokens, event.size, reason)
        return
    gift = Gift(
        event.fragment,
        event.base,
        event.site,
        event.attempt,
        event.blob,
        event.size,
        event.tokens,
        event.steps,
        desk.state.now,
        core_seconds=event.core_seconds,
        gpu_seconds=event.gpu_seconds,
    )
    if reason is None:
        lane.gifts[gift.key] = gift
    elif few and event.base < lane.next:
        lane.gifts[gift.key] = gift
        desk.refuse(gift, "unsound", reason)
    else:  # without bound in number, so not remembered
        desk.refused(lane.fragment, f"{site.name}/…", site.name, 0, event.size, reason)


def _objection(desk: Desk, lane: Lane, site: Site, event: Contributed) -> str | None:
    """Why a contribution is not taken; None: it is to be inspected."""
    rules = desk.state.rules
    if event.run != rules.run:
        return f"it is of the run {event.run}"
    if site.suspended is not None:
        return f"{site.name} is suspended: {site.suspended}"
    behind = staleness(lane, event.base, rules.window)
    if behind is None:
        return _why_no_base(lane, event.base, rules.window)
    if event.attempt >= MOST_ATTEMPTS:
        return f"attempt {event.attempt}: at most {MOST_ATTEMPTS} at one base"
    base = lane.versions[event.base]
    if event.digest != base.digest:
        _diverged(desk, site, lane.fragment, event.base)
        return f"its copy of version {event.base} has other weights"
    if event.nonce != nonce_of(rules.run, lane.fragment, base.number, base.digest, site.name):
        return "it is not bound to this base version: the nonce is another one"
    length = max(round_length(desk.state, lane, base), 1)
    most = length + min(rules.overlap, length)  # some were trained while the answer was waited for
    if event.steps > most:
        return f"{event.steps} inner steps where the round allows {most} at most"
    if event.tokens > _most_tokens(desk.state, lane, site, event.steps):
        return f"{event.tokens} tokens are more than its {event.steps} steps can have seen"
    if event.size > blob_size(lane.count, Codec.FLOAT32):
        return f"{event.size} bytes are more than the fragment has"
    done = [g for g in lane.gifts.values() if (g.site, g.base) == (site.name, event.base)]
    if any(g.state in (GiftState.MERGED, GiftState.REVOKED) for g in done):
        return "another attempt at this base was merged"
    return None


def _most_tokens(state: State, lane: Lane, site: Site, steps: int) -> int:
    """Of what so many steps can have seen the fragment's share, rounded up."""
    whole = sum(one.count for one in state.lanes.values())
    return -(-steps * site.tokens_per_step * lane.count // whole)


def _why_no_base(lane: Lane, base: int, window: int) -> str:
    if base >= lane.next:
        return f"there is no version {base} yet"
    if base < oldest_base(lane, window):
        return f"version {base} is more than {window} versions behind {lane.head}"
    return f"version {base} was rolled back"


# --- the inspected ----------------------------------------------------------------------------


def inspected(desk: Desk, event: Inspected) -> None:
    """A blob was read: the contribution is accepted, perhaps to be clipped, or refused."""
    lane = desk.state.lanes.get(event.fragment)
    gift = lane.gifts.get(event.key) if lane else None
    if gift is None or gift.blob != event.blob or gift.state is not GiftState.OFFERED:
        return
    if event.problem is not None or event.norm is None:
        desk.refuse(gift, "unsound", event.problem or "its norm could not be taken")
        return
    gift.norm = event.norm
    usual = _usual(desk.state, gift)
    if usual is not None:
        pace = event.norm / gift.steps
        if pace > desk.state.rules.refuse * usual:
            reason = f"its norm is {pace / usual:.1f} times what is usual of the site"
            desk.refuse(gift, "unsound", reason)
            return
        gift.limit = desk.state.rules.clip * usual * gift.steps
    gift.state = moved(GIFT, gift.state, "sound")


def _usual(state: State, gift: Gift) -> float | None:
    """The norm that an inner step usually has: of the site; while it is new, of the others.

    By the step, since H changes: a step's share of the norm falls as H grows, so a longer round is
    never taken for an attack.
    """
    own = _median(state.sites[gift.site], gift.fragment)
    others = [
        _median(site, gift.fragment)
        for name, site in sorted(state.sites.items())
        if name != gift.site
    ]
    most = max((found for found in others if found is not None), default=None)
    if own is None or most is None:
        return most if own is None else own
    return min(own, _APART * most)  # or a site could make ever more usual, a little at a time


def outsized(state: State, gifts: Sequence[Gift]) -> list[tuple[Gift, float]]:
    """Of what is about to be merged: what is far too long beside the rest, and how many times so.

    Only of those of whom nothing is usual yet, and among three sites at least: of two nobody can say
    which is the odd one.
    """
    paces = _paces(state, gifts)
    usual = _of_round(paces)
    if usual is None or len(paces) < _FEW:
        return []
    times = [(gift, _pace(gift) / usual) for gift in gifts if gift.limit is None]
    return [(gift, found) for gift, found in times if found > state.rules.refuse]


def limit(state: State, gift: Gift, gifts: Sequence[Gift]) -> float | None:
    """The norm to which a contribution is shortened in a merge of these."""
    usual = _of_round(_paces(state, gifts))
    if gift.limit is not None or usual is None:
        return gift.limit
    return state.rules.refuse * usual * gift.steps


def _paces(state: State, gifts: Sequence[Gift]) -> dict[str, float]:
    """Each site's norm of an inner step: the largest that it brings now, else what it brought so far.

    Without those that bring nothing.
    """
    found: dict[str, float] = {}
    for gift in gifts:
        if gift.norm:
            found[gift.site] = max(found.get(gift.site, 0.0), _pace(gift))
    for name, site in sorted(state.sites.items()):
        if norms := [norm for norm in site.habits[gifts[0].fragment].norms if norm]:
            found.setdefault(name, median(norms))
    return found


def _pace(gift: Gift) -> float:
    return (gift.norm or 0.0) / gift.steps


def _of_round(paces: Mapping[str, float]) -> float | None:
    """The lower median: one bad site of two or three does not raise it."""
    return median_low(paces.values()) if paces else None


def _median(site: Site, fragment: str) -> float | None:
    norms = site.habits[fragment].norms
    return median(norms) or None if len(norms) >= ENOUGH else None


def remember_norm(site: Site, gift: Gift, clipped: float) -> None:
    """Add a merged contribution to what is usual of its site; what was clipped is not."""
    habit = site.habits[gift.fragment]
    if gift.norm is not None and clipped == 1:
        habit.norms = [*habit.norms, gift.norm / gift.steps][-HISTORY:]
