"""The texts of the atlas: real ones, and to which member each belongs.

The texts are the sample passages (most of them of the Universal Declaration of Human Rights) that
the package gflanguages carries, with the countries where each language is spoken.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import gflanguages

MEMBERS = ("CL", "CO", "MX")
SPANISH = "es_Latn"
IBERIA = frozenset({"ES", "PT"})
UNCODED = "mis"  # ISO 639-3: "uncoded languages"; here a reconstructed one, nobody's own
PASSAGES = (
    "specimen_16",
    "specimen_21",
    "specimen_32",
    "specimen_36",
    "specimen_48",
    "tester",
    "styles",
    "poster_lg",
    "poster_md",
    "poster_sm",
)


@dataclass(frozen=True, slots=True)
class Language:
    """One language as it is written in one script.

    `member` is the country whose own it is, and where its text has to stay; None if it is open.
    `family` is the top-level family in Glottolog, None for an isolate; `group` the (Spanish) name
    under which a reader looks for it. `population` is the number of speakers, 0 if not known.
    """

    id: str
    name: str
    autonym: str
    script: str
    member: str | None
    countries: tuple[str, ...]
    population: int
    family: str | None
    group: str | None
    text: str


@cache
def languages() -> tuple[Language, ...]:
    """The members' own languages and the open ones, sorted by id.

    A language is a member's own if it is spoken in that member and nowhere outside the Americas:
    Mapudungun is Chile's, Spanish is nobody's. Open are all others that are spoken somewhere in
    the Americas, and with Portuguese and Spanish their neighbours of the Iberian Peninsula.
    """
    americas = frozenset(
        code
        for code, region in gflanguages.LoadRegions().items()
        if "Americas" in region.region_group
    )
    facts = _facts()
    found = []
    for key, record in sorted(gflanguages.LoadLanguages().items()):
        countries = tuple(sorted(record.region))
        text = distinct_passages(getattr(record.sample_text, field) for field in PASSAGES)
        if (
            not text
            or record.language == UNCODED
            or not (americas | IBERIA).intersection(countries)
        ):
            continue
        fact = facts.get(key, {})
        found.append(
            Language(
                id=key,
                name=record.name,
                autonym=fact.get("autonym") or record.autonym or record.name,
                script=record.script,
                member=_owner(countries, americas),
                countries=countries,
                population=record.population,
                family=fact.get("family") or None,
                group=fact.get("group") or None,
                text=text,
            )
        )
    return tuple(found)


def distinct_passages(passages: Iterable[str]) -> str:
    """The passages one below the other, without those that a longer one already contains."""
    kept: list[str] = []
    for passage in sorted((p.strip() for p in passages), key=len, reverse=True):
        if not any(passage in longer for longer in kept):
            kept.append(passage)
    return "\n".join(kept)


def metadata(chosen: Iterable[Language]) -> dict[str, dict[str, Any]]:
    """What the gathering task knows of each language beside its profile: no text, by id."""
    return {
        language.id: {
            "name": language.name,
            "autonym": language.autonym,
            "script": language.script,
            "member": language.member,
            "countries": list(language.countries),
            "population": language.population,
            "family": language.family,
            "group": language.group,
        }
        for language in chosen
    }


def _owner(countries: tuple[str, ...], americas: frozenset[str]) -> str | None:
    """The member whose own language it is; the first in alphabetical order if two could claim it."""
    if not americas.issuperset(countries):
        return None
    return next((member for member in MEMBERS if member in countries), None)


def _facts() -> dict[str, dict[str, str]]:
    source = resources.files(__package__) / "languages.tsv"
    lines = [line for line in source.read_text("utf-8").splitlines() if not line.startswith("#")]
    return {row["id"]: row for row in csv.DictReader(lines, delimiter="\t")}
