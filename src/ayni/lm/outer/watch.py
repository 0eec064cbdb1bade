"""Who is late and why, and what each site brought: from the state, and from the books."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import fmean
from typing import Literal

from ayni.lm.outer.desk import Desk
from ayni.lm.outer.lineage import staleness
from ayni.lm.outer.messages import Record
from ayni.lm.outer.rounds import awaited
from ayni.lm.outer.state import Gift, GiftState, Lane, Site, State

SILENT = 900.0  # seconds after which a site that says nothing is called silent

LEFT = "it left the run"


@dataclass(frozen=True)
class Standing:
    """Where a site is in a fragment's round. `behind`: versions; None: not known, or too many."""

    fragment: str
    site: str
    brought: bool
    awaited: bool
    behind: int | None
    why: str


def standings(state: State, now: float) -> list[Standing]:
    """Every site in every fragment, in order."""
    found = []
    for _, lane in sorted(state.lanes.items()):
        waited = awaited(Desk(state), lane)
        for name, site in sorted(state.sites.items()):
            gift = _gift(lane, name)
            held = site.habits[lane.fragment].held
            behind = None if held is None else staleness(lane, held, state.rules.window)
            brought = gift is not None and gift.state is not GiftState.REFUSED
            why = _why(state, lane, site, gift, now)
            found.append(Standing(lane.fragment, name, brought, name in waited, behind, why))
    return found


def _gift(lane: Lane, site: str) -> Gift | None:
    """What a site brought to the head, the last attempt that was not refused before others."""
    gifts = [g for g in lane.gifts.values() if (g.site, g.base) == (site, lane.head)]
    return max(gifts, key=lambda g: (g.state is not GiftState.REFUSED, g.attempt), default=None)


def _why(state: State, lane: Lane, site: Site, gift: Gift | None, now: float) -> str:
    habit = site.habits[lane.fragment]
    if not site.here:
        return LEFT
    if site.suspended is not None:
        return f"suspended: {site.suspended}"
    if gift is not None and gift.state is GiftState.REFUSED:
        return f"refused: {gift.reason}"
    if gift is not None:
        return "being inspected" if gift.state is GiftState.OFFERED else "it has brought its part"
    if habit.troubled == lane.head:
        return f"it cannot: {habit.trouble}"
    if now - site.heard > SILENT:
        return f"silent for {round((now - site.heard) / 60)} minutes"
    if habit.diverged is not None:
        return f"its copy of version {habit.diverged} has other weights: it must take the snapshot"
    step = f", step {site.step} of {site.of}" if site.of else ""
    if habit.held is not None and habit.held != lane.head:
        return f"{site.doing} from version {habit.held}{step}; the head is {lane.head}"
    return f"{site.doing}{step}"


# --- the books --------------------------------------------------------------------------------


@dataclass
class Tally:
    """What a site brought. `weights`: by fragment and version, what it was of 1."""

    tokens: int = 0
    bytes: int = 0
    core_seconds: int = 0
    gpu_seconds: int = 0
    merged: int = 0
    late: int = 0
    clipped: int = 0
    refused: int = 0
    refused_bytes: int = 0
    revoked: int = 0
    discarded_tokens: int = 0
    weights: dict[tuple[str, int], float] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)


_Version = tuple[object, object]  # a fragment and a version, as the books have them


class Tallies:
    """The sites' contributions, record by record; what was rolled back is counted apart.

    `of`: by site. What it holds of a long run is small, and a record costs the same late as early.
    """

    def __init__(self) -> None:
        self.of: dict[str, Tally] = {}
        self._merged: dict[_Version, list[Record]] = {}  # what stands
        self._back: set[_Version] = set()

    def take(self, record: Record) -> None:
        """Count one record of the books; each is to be taken once."""
        data, site = record.data, record.data.get("site")
        if record.what == "rolled back":
            self._take_back((data["fragment"], data["version"]))
        elif isinstance(site, str) and record.what in ("merged", "refused", "discarded"):
            tally = self.of.setdefault(site, Tally())
            if record.what == "discarded":
                tally.discarded_tokens += _whole(data["tokens"])
            elif record.what == "refused":
                tally.refused += 1
                tally.refused_bytes += _whole(data["bytes"])
                tally.reasons.append(str(data["reason"]))
            else:
                self._merge(tally, record)

    def _merge(self, tally: Tally, record: Record) -> None:
        version = record.data["fragment"], record.data["version"]
        if version in self._back:
            tally.revoked += 1
            return
        _add(tally, record, 1)
        self._merged.setdefault(version, []).append(record)

    def _take_back(self, version: _Version) -> None:
        """A version does not stand any more, nor what was brought to it."""
        self._back.add(version)
        for record in self._merged.pop(version, ()):
            tally = self.of[str(record.data["site"])]
            _add(tally, record, -1)
            tally.revoked += 1


def contributions(books: Iterable[Record]) -> dict[str, Tally]:
    """The sites' contributions that stand: what was rolled back is counted apart."""
    found = Tallies()
    for record in books:
        found.take(record)
    return found.of


def _rolled_back(records: Iterable[Record]) -> set[_Version]:
    return {(r.data["fragment"], r.data["version"]) for r in records if r.what == "rolled back"}


def _add(tally: Tally, record: Record, times: Literal[1, -1]) -> None:
    """Count what was merged, or take it back: then nothing of its version is left."""
    data = record.data
    tally.tokens += times * _whole(data["tokens"])
    tally.bytes += times * _whole(data["bytes"])
    tally.core_seconds += times * _whole(data.get("core_seconds", 0))
    tally.gpu_seconds += times * _whole(data.get("gpu_seconds", 0))
    tally.merged += times
    tally.late += times * (_whole(data["staleness"]) > 0)
    tally.clipped += times * (float(data["clipped"] or 0) < 1)
    key = str(data["fragment"]), _whole(data["version"])
    if times < 0:
        tally.weights.pop(key, None)
    else:
        tally.weights[key] = tally.weights.get(key, 0.0) + float(data["weight"] or 0)


def _whole(value: object) -> int:
    assert isinstance(value, int)
    return value


@dataclass(frozen=True)
class Part:
    """What a site brought to a version, and what came of it.

    `core_seconds`, `gpu_seconds`: as the site's task says. `stands`: the version was not rolled back.
    `effect`: by how much the loss of the *other* sites, their mean, is lower with this part than without
    it, in nats a token: negative where it harmed; None: that was not measured.
    """

    fragment: str
    version: int
    site: str
    member: str | None
    base: int
    tokens: int
    bytes: int
    core_seconds: int
    gpu_seconds: int
    weight: float
    stands: bool
    effect: float | None


def parts(books: Iterable[Record]) -> list[Part]:
    """Every contribution that was merged, by version and site."""
    records = list(books)
    back = _rolled_back(records)
    members = {r.data["site"]: str(r.data["member"]) for r in records if r.what == "member"}
    effects = _effects(records)
    found = []
    for data in (record.data for record in records if record.what == "merged"):
        fragment, version = str(data["fragment"]), _whole(data["version"])
        site = str(data["site"])
        found.append(
            Part(
                fragment=fragment,
                version=version,
                site=site,
                member=members.get(site),
                base=_whole(data["base"]),
                tokens=_whole(data["tokens"]),
                bytes=_whole(data["bytes"]),
                core_seconds=_whole(data.get("core_seconds", 0)),
                gpu_seconds=_whole(data.get("gpu_seconds", 0)),
                weight=float(data["weight"] or 0),
                stands=(fragment, version) not in back,
                effect=effects.get((fragment, version, site)),
            )
        )
    return sorted(found, key=lambda part: (part.version, part.fragment, part.site, part.base))


def _effects(records: Iterable[Record]) -> dict[tuple[str, int, str], float]:
    seen: dict[tuple[str, int, str], list[float]] = {}
    for data in (record.data for record in records if record.what == "compared"):
        loss, other = data["loss"], data["other"]
        if isinstance(loss, float) and isinstance(other, float):
            key = str(data["fragment"]), _whole(data["version"]), str(data["without"])
            seen.setdefault(key, []).append(other - loss)
    return {key: fmean(found) for key, found in seen.items()}
