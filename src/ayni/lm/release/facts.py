"""The facts of a release, as the record has them: `facts.json`, from which the card is written. No torch.

What the record does not have is None, and the card says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ayni import __version__
from ayni.client.network import Network
from ayni.errors import UserError
from ayni.lm.config import Run
from ayni.lm.faults import first_fault
from ayni.lm.files import written
from ayni.lm.outer.messages import Record
from ayni.lm.outer.watch import Part as Contributed
from ayni.lm.outer.watch import Tally, contributions
from ayni.lm.outer.watch import parts as contributed
from ayni.lm.release.evidence import Exposure, Loss, Losses, pooled
from ayni.lm.release.held import Way
from ayni.lm.watching.record import History
from ayni.terminal import one_line

FILE = "facts.json"
TAG = "ayni-lm"  # of a run's tasks
_KWH = 3.6e6  # joules
_MOST = 16 << 20  # bytes of facts.json
_PLACES: Any = {"sites": {"__all__": {"data", "volume", "image", "partition"}}, "project": True}


class _Facts(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Used(_Facts):
    """Core- and GPU-hours, of the accounting or as the site's own tasks say; and kWh, where measured."""

    core: float = 0.0
    gpu: float = 0.0
    accounted: bool = True
    energy: float | None = None

    def plus(self, other: Used | None) -> Used:
        """The sum; accounted, if both are, and of what energy is known."""
        if other is None:
            return self
        return Used(
            core=self.core + other.core,
            gpu=self.gpu + other.gpu,
            accounted=self.accounted and other.accounted,
            energy=_added(self.energy, other.energy),
        )


def _added(one: float | None, other: float | None) -> float | None:
    return other if one is None else one if other is None else one + other


class Part(_Facts):
    """What one site brought. `weight`: its mean share of the rounds; `late`: of those merged.

    `effect`: by how much the loss of the *other* sites is lower with its part, in nats a token, the mean
    over the rounds in which that was measured. `losses`: of its last round's training, by language, in
    nats a token; `heldout`: of the released version, over all that is held out there.
    """

    site: str
    member: str | None = None
    rounds: int = 0
    late: int = 0
    clipped: int = 0
    revoked: int = 0
    refused: int = 0
    refused_bytes: int = 0
    reasons: tuple[str, ...] = ()
    tokens: int = 0
    discarded_tokens: int = 0
    bytes: int = 0
    weight: float = 0.0
    hours: Used | None = None
    effect: float | None = None
    losses: dict[str, float] = {}
    heldout: float | None = None


class Facts(_Facts):
    """All that is known of a release.

    `state`: of the version, as the coordinator or the channel had it; `parts`: None where the
    coordinator's books were not at hand; `energy`: kWh by site, of
    the accounting, or as the site says.
    """

    format: Literal["ayni-release/1"] = "ayni-release/1"
    run: str
    version: int
    digest: str
    step: int | None
    steps: int
    state: str
    parameters: int
    precision: str
    rounds: int | None = None
    rolled_back: int | None = None
    parts: tuple[Part, ...] | None = None
    heldout: dict[str, Loss] = {}
    compared: dict[str, dict[str, Loss]] = {}
    exposures: tuple[Exposure, ...] = ()
    energy: dict[str, float] = {}
    licence: Annotated[str, Field(max_length=200)] | None = None
    tokenizer: str | None = None  # the SHA-256 of its file
    configuration: dict[str, Any]
    made_with: dict[str, str]


@dataclass(frozen=True)
class Given:
    """What people bring to a card: files of `ayni lm evaluate` and `exposure`, and what sites measured.

    `compared`: by a name of the other model; `energy`: kWh by site.
    """

    losses: Sequence[Losses] = ()
    compared: Mapping[str, Sequence[Losses]] = field(default_factory=dict)
    exposures: Sequence[Exposure] = ()
    energy: Mapping[str, float] = field(default_factory=dict)
    licence: str | None = None


def gather(
    run: Run,
    ways: Sequence[Way],
    *,
    precision: str,
    folder: Path | None = None,
    members: Mapping[str, str] | None = None,
    hours: Mapping[str, Used] | None = None,
) -> Facts:
    """The facts of a version.

    Args:
        ways: that its weights are made by.
        folder: the coordinator's, with the books; None: they are not at hand.
        members, hours: by site, where the network was asked; what the books have is not asked for.
    """
    first = ways[0]
    books = Books(History.read(folder), first.version) if folder is not None else None
    return Facts(
        run=run.run,
        version=first.version,
        digest=" ".join(way.digest for way in ways),
        step=first.step,
        steps=run.outer.schedule.steps,
        state=first.state,
        parameters=sum(way.count for way in ways),
        precision=precision,
        rounds=books.rounds if books else None,
        rolled_back=books.rolled_back if books else None,
        parts=_parts(run, books, members or {}, hours) if books else None,
        configuration=configuration(run),
        energy={n: one.energy for n, one in (hours or {}).items() if one.energy is not None},
        made_with={"ayni": __version__},
    )


def configuration(run: Run) -> dict[str, Any]:
    """The resolved configuration without what is a site's own: paths, volumes, images, partitions."""
    found: dict[str, Any] = run.model_dump(mode="json", exclude=_PLACES)
    if run.model.checkpoint is not None:
        found["model"]["checkpoint"] = run.model.checkpoint.name
    if found.get("tokenizer"):
        found["tokenizer"] = Path(found["tokenizer"]).name
    return found


class Books:
    """The coordinator's books as they stood when the version after this one was made."""

    def __init__(self, history: History, version: int) -> None:
        self._records = list(_until(history.books, version))
        self.tallies = contributions(self._records)
        merged, back = (self._versions(what) for what in ("merged", "rolled back"))
        self.merges = len(merged - back)  # of fragments
        self.rounds, self.rolled_back = _numbers(merged - back), _numbers(merged & back)
        self.heldout = {
            str(r.data["site"]): float(r.data["after"])
            for r in history.books
            if r.what == "evaluated"
            and r.data["version"] == version
            and r.data["after"] is not None
        }
        self.members = {
            str(r.data["site"]): str(r.data["member"]) for r in history.books if r.what == "member"
        }
        compared = [r for r in history.books if r.what == "compared" and _number(r) <= version]
        others = [record for record in self._records if record.what != "compared"]
        self.effects = _effects(contributed([*others, *compared]))
        self.losses = {one.site: one.losses for one in history.reports if one.base < version}

    def _versions(self, what: str) -> set[tuple[Any, Any]]:
        return {(r.data["fragment"], r.data["version"]) for r in self._records if r.what == what}


def _numbers(found: set[tuple[Any, Any]]) -> int:
    """Versions, each counted once, in however many fragments it was made."""
    return len({version for _, version in found})


def _effects(found: Iterable[Contributed]) -> dict[str, float]:
    """By site, the mean over what stands."""
    seen: dict[str, list[float]] = {}
    for one in found:
        if one.stands and one.effect is not None:
            seen.setdefault(one.site, []).append(one.effect)
    return {site: fmean(effects) for site, effects in seen.items()}


def _until(records: Sequence[Record], version: int) -> Iterator[Record]:
    """What led to a version, and what was refused before the next; not that it was rolled back itself."""
    own, end = len(records), len(records)
    for place, record in enumerate(records):
        if record.what == "version" and _number(record) == version:
            own = place
        elif record.what == "version" and _number(record) > version:
            end = place
            break
    for place, record in enumerate(records[:end]):
        after = record.what == "rolled back" and place > own
        later = record.what == "merged" and _number(record) > version
        if not after and not later:
            yield record


def _number(record: Record) -> int:
    number = record.data["version"]
    assert isinstance(number, int)
    return number


def _parts(
    run: Run, books: Books, members: Mapping[str, str], hours: Mapping[str, Used] | None
) -> tuple[Part, ...]:
    names = sorted({one.site for one in run.sites} | books.tallies.keys())
    return tuple(_part(name, books, members, hours, run.outer.fragments) for name in names)


def _part(
    site: str,
    books: Books,
    members: Mapping[str, str],
    hours: Mapping[str, Used] | None,
    fragments: int,
) -> Part:
    tally = books.tallies.get(site, Tally())
    said = Used(core=tally.core_seconds / 3600, gpu=tally.gpu_seconds / 3600, accounted=False)
    return Part(
        site=site,
        member=books.members.get(site, members.get(site)),
        rounds=tally.merged // fragments,
        late=tally.late,
        clipped=tally.clipped,
        revoked=tally.revoked,
        refused=tally.refused,
        refused_bytes=tally.refused_bytes,
        reasons=tuple(sorted(set(tally.reasons)))[:20],
        tokens=tally.tokens,
        discarded_tokens=tally.discarded_tokens,
        bytes=tally.bytes,
        weight=sum(tally.weights.values()) / max(1, books.merges),
        hours=said if hours is None else hours.get(site, Used()),
        effect=books.effects.get(site),
        losses=books.losses.get(site, {}),
        heldout=books.heldout.get(site),
    )


# --- from the network -------------------------------------------------------------------------


def members_of(network: Network) -> dict[str, str]:
    """The sites' members."""
    return {site.name: site.member for site in network.sites() if site.member}


def hours_of(network: Network, run: str) -> dict[str, Used]:
    """What the run's tasks took at each site: by the accounting, else cores times seconds."""
    found: dict[str, Used] = {}
    for task in network.tasks(tag=(TAG, run)):
        for attempt in task.attempts:
            if (used := attempt.usage) is None:
                continue
            given = used.get("allocation") or {
                f"{kind}_seconds": used.get(f"{kind}s", 0) * used.get("wall", 0.0)
                for kind in ("core", "gpu")
            }
            hours = {kind: given.get(f"{kind}_seconds", 0.0) / 3600 for kind in ("core", "gpu")}
            energy = given.get("energy")
            one = Used(**hours, energy=None if energy is None else energy / _KWH)
            found[attempt.site] = one.plus(found.get(attempt.site))
    return found


# --- what people bring, and the file ----------------------------------------------------------


def complete(facts: Facts, given: Given, weights: str) -> Facts:
    """The facts with what was measured of the released weights; what is given replaces what was there.

    Args:
        weights: SHA-256 that the released weights are known by.

    Raises:
        UserError: it was measured on other weights, or with another tokenizer, or names no site.
    """
    for measured in (*given.losses, *given.exposures):
        if measured.weights != weights:
            raise UserError(
                f"what was measured at {', '.join(measured.sites)} is of other weights "
                f"({measured.weights[:12]}…, these are {weights[:12]}…): measure this folder"
            )
    for name, others in given.compared.items():
        for other in others:
            if given.losses and other.tokenizer != given.losses[0].tokenizer:
                raise UserError(
                    f"{name} has another tokenizer: losses a token cannot be compared with it"
                )
    changed: dict[str, Any] = {}
    if given.losses:
        changed["heldout"] = pooled(given.losses)
    if given.compared:
        changed["compared"] = {name: pooled(found) for name, found in given.compared.items()}
    if given.exposures:
        changed["exposures"] = tuple(given.exposures)
    if given.licence:
        changed["licence"] = given.licence
    if given.energy:
        sites = {str(one["site"]) for one in facts.configuration["sites"]}
        if unknown := set(given.energy) - sites:
            raise UserError(f"--energy: the run has no site {', '.join(sorted(unknown))}")
        changed["energy"] = {**facts.energy, **given.energy}
    return facts.model_copy(update=changed)


def load(folder: Path) -> Facts:
    """The facts in an exported folder.

    Raises:
        UserError: there are none, or they are damaged.
    """
    path = folder / FILE
    try:
        with path.open("rb") as file:
            return Facts.model_validate_json(file.read(_MOST))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; name a folder of 'ayni lm export'") from error
    except ValidationError as error:
        raise UserError(one_line(f"{path}: {first_fault(error)}; export anew")) from error


def save(facts: Facts, folder: Path) -> None:
    with written(folder / FILE) as file:
        file.write(facts.model_dump_json(indent=1).encode() + b"\n")


def languages(facts: Facts) -> list[str]:
    """All languages that the facts name, sorted; `zxx` is no language (the canaries)."""
    found: set[str] = set(facts.heldout)
    parts: Iterable[Part] = facts.parts or ()
    for part in parts:
        found |= set(part.losses)
    return sorted(found - {"zxx"})
