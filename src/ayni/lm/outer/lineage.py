"""How a fragment's versions descend from each other, and what of them is still needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice, takewhile
from typing import Literal

from ayni.lm.outer.messages import Head, Link, Variant
from ayni.lm.outer.state import GiftState, Lane, State, Version, VersionState

WAITING = (GiftState.OFFERED, GiftState.ACCEPTED)


def line(lane: Lane, start: int | None = None) -> Iterator[Version]:
    """A version (by default the head), its parent, and so on, as far as they are kept."""
    number: int | None = lane.head if start is None else start
    while number is not None and number in lane.versions:
        version = lane.versions[number]
        yield version
        number = version.parent


def staleness(lane: Lane, base: int, window: int) -> int | None:
    """How many versions a base is behind the head; None: more than the window, or rolled back."""
    for behind, version in enumerate(line(lane)):
        if behind > window:
            return None
        if version.number == base:
            return behind
    return None


def oldest_base(lane: Lane, window: int) -> int:
    """Bases below this number are too far behind, whatever their lineage."""
    return min(v.number for behind, v in enumerate(line(lane)) if behind <= window)


def path(lane: Lane, to: int, good: Callable[[Version], bool]) -> tuple[Version, list[Version]]:
    """The nearest good version at or before `to`, and those that lead from it to `to`.

    Raises:
        LookupError: there is none.
    """
    after: list[Version] = []
    for version in line(lane, to):
        if good(version) and version.params is not None:
            return version, after[::-1]
        after.append(version)
    raise LookupError(f"the weights before version {to} of {lane.fragment} are gone")


def round_length(state: State, lane: Lane, version: Version) -> int:
    """The inner steps of the round that begins at a version; 0: the run is over."""
    length = state.rules.schedule.inner_steps(version.step)
    return min(lane.first, length) if version.step == 0 else length


def setting(state: State, name: str, version: int) -> float | None:
    """A value that a person set and that holds at a version."""
    held = [s for s in state.settings if s.name == name and s.from_version <= version]
    return max(held, key=lambda s: s.from_version).value if held else None


def head(state: State, lane: Lane) -> Head:
    """What sites are told of a fragment.

    The chain is longer than the window where it can be: who is a few versions late applies updates,
    also where a snapshot was made meanwhile, and who judges a version knows its parent.
    """
    version = lane.versions[lane.head]
    recent = list(islice(line(lane), state.rules.window + 2))
    anchor, _ = path(lane, recent[-1].number, lambda v: v.snapshot)
    links = list(takewhile(lambda v: v.number != anchor.number, line(lane)))[::-1]
    assert anchor.params is not None
    inner = round_length(state, lane, version)
    return Head(
        run=state.rules.run,
        fragment=lane.fragment,
        count=lane.count,
        version=version.number,
        digest=version.digest,
        status=_status(state, version, inner),
        step=version.step,
        inner_steps=inner,
        window=state.rules.window,
        lr=setting(state, "lr", version.number),
        evaluate=state.rules.evaluate and version.update is not None,
        snapshot_version=anchor.number,
        snapshot=anchor.params,
        snapshot_digest=anchor.digest,
        chain=tuple(Link(version=v.number, update=v.update, digest=v.digest) for v in links),
        suspended=tuple(n for n, site in sorted(state.sites.items()) if site.suspended is not None),
        variants=tuple(Variant(site=n, change=c) for n, c in sorted(version.variants.items())),
    )


def _status(
    state: State, version: Version, inner: int
) -> Literal["running", "paused", "judging", "done"]:
    if inner == 0:
        return "judging" if version.state is VersionState.PROVISIONAL else "done"
    return "paused" if state.paused else "running"


def tidy(state: State, lane: Lane) -> None:
    """Forget the weights, versions and contributions that nothing needs any more."""
    lineage = list(line(lane))
    for version in lineage[1:]:
        version.momentum, version.variants = None, {}
        version.params = version.params if version.snapshot else None
    judged = [i for i, v in enumerate(lineage) if v.state is VersionState.PROVISIONAL]
    depth = max(state.rules.keep, *(i + 2 for i in judged), 1)  # a parent is what one goes back to
    last = lineage[min(depth, len(lineage)) - 1]
    first, _ = path(lane, last.number, lambda v: v.snapshot)
    first.parent = None
    kept = {version.number for version in line(lane)} | ({lane.trial.of} if lane.trial else set())
    lane.versions = {n: v for n, v in lane.versions.items() if n in kept}
    oldest, needed = oldest_base(lane, state.rules.window), needed_gifts(lane)
    lane.gifts = {k: g for k, g in lane.gifts.items() if g.base >= oldest or k in needed}


def needed_gifts(lane: Lane) -> set[str]:
    """Contributions whose blobs may still be read: waiting, being merged, or perhaps to be tried again."""
    needed = {key for key, gift in lane.gifts.items() if gift.state in WAITING}
    needed |= {one.key for one in lane.job.inputs} if lane.job else set()
    needed |= set(lane.trial.gifts) if lane.trial else set()
    for version in lane.versions.values():
        if version.state is VersionState.PROVISIONAL:
            needed |= {share.key for share in version.shares}
    return needed


def referenced(state: State) -> set[str]:
    """The addresses of all blobs that are still needed. The others may go."""
    found: set[str | None] = set()
    for lane in state.lanes.values():
        for version in lane.versions.values():
            found |= {version.update, version.params, version.momentum, *version.variants.values()}
        needed = needed_gifts(lane)
        found |= {gift.blob for key, gift in lane.gifts.items() if key in needed}
    return {blob for blob in found if blob is not None}
