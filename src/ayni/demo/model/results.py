"""What the comparison found: bits per byte by language, and what follows for whom. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

JOINT, ONE_PLACE = "joint", "one place"
SPANISH = "es"


@dataclass(frozen=True)
class Measured:
    """Bits per byte of held-out text, by language. `tokens` were trained on.

    `name` is `JOINT`, `ONE_PLACE`, or the site that trained alone.
    """

    name: str
    bits: Mapping[str, float]
    tokens: int

    @property
    def mean(self) -> float:
        """Over all languages, each counting as much as any other."""
        return fmean(self.bits.values())

    @property
    def worst(self) -> str:
        """The language that it knows least."""
        return max(self.bits, key=lambda name: self.bits[name])

    def over(self, languages: Iterable[str]) -> float | None:
        """The mean over some languages; None if nothing is held out of any."""
        known = [self.bits[name] for name in languages if name in self.bits]
        return fmean(known) if known else None


@dataclass(frozen=True)
class Comparison:
    """All that was measured. `own[site]`: the languages that only it holds."""

    models: tuple[Measured, ...]
    own: Mapping[str, tuple[str, ...]]
    prompt: str = ""
    text: str = ""

    @property
    def joint(self) -> Measured:
        return self.named(JOINT)

    @property
    def one_place(self) -> Measured:
        return self.named(ONE_PLACE)

    @property
    def alone(self) -> list[Measured]:
        """Each country alone, in the order of the sites."""
        return [self.named(site) for site in self.own]

    @property
    def ordered(self) -> list[Measured]:
        return [self.joint, *self.alone, self.one_place]

    def named(self, name: str) -> Measured:
        return next(one for one in self.models if one.name == name)

    def worse_than_at_home(self) -> list[str]:
        """Languages that their own country, alone, knows better than the joint model."""
        pairs = [(site, language) for site, languages in self.own.items() for language in languages]
        return sorted(
            language
            for site, language in pairs
            if language in self.joint.bits
            and self.named(site).bits[language] < self.joint.bits[language]
        )


def parse(lines: Sequence[str]) -> Comparison:
    """From what the comparing process wrote, a line of JSON to each finding."""
    found: list[dict[str, Any]] = [json.loads(line) for line in lines]
    models = tuple(Measured(**one) for one in found if "bits" in one)
    own = next(one["own"] for one in found if "own" in one)
    written = next(one for one in found if "text" in one)
    return Comparison(models, {site: tuple(names) for site, names in own.items()}, **written)


def gap(one: float, other: float) -> str:
    """How much more `one` is than `other`, in per cent, with its sign."""
    return f"{100 * (one / other - 1):+.1f} %"
