"""Which languages the atlas has, and which of them stay at home."""

import csv
from collections import Counter
from importlib import resources

import pytest

from ayni.demo.atlas.corpus import distinct_passages, languages, metadata


def test_every_member_has_its_own_languages_and_the_rest_are_open() -> None:
    counts = Counter(language.member for language in languages())
    assert counts == {"CL": 2, "CO": 9, "MX": 19, None: 100}


@pytest.mark.parametrize(
    ("language", "member"),
    [
        ("arn_Latn", "CL"),
        ("guc_Latn", "CO"),
        ("tzo_Latn", "MX"),
        ("tzh_Latn", "MX"),
        ("pt_Latn", None),
        ("es_Latn", None),
        ("en_Latn", None),
        ("quz_Latn", None),
        ("eu_Latn", None),
    ],
)
def test_a_language_is_a_members_own_if_it_lives_there_and_only_in_the_americas(
    language: str, member: str | None
) -> None:
    assert {entry.id: entry.member for entry in languages()}[language] == member


def test_the_texts_are_real_and_no_two_are_the_same() -> None:
    texts = [language.text for language in languages()]
    assert min(map(len, texts)) > 400
    assert len(set(texts)) == len(texts)


def test_every_language_has_its_facts_and_no_fact_is_left_over() -> None:
    source = resources.files("ayni.demo.atlas") / "languages.tsv"
    lines = [line for line in source.read_text("utf-8").splitlines() if not line.startswith("#")]
    rows = list(csv.DictReader(lines, delimiter="\t"))
    assert [row["id"] for row in rows] == sorted({row["id"] for row in rows})
    assert {row["id"] for row in rows} == {language.id for language in languages()}
    assert all(bool(row["family"]) == bool(row["group"]) for row in rows)


def test_a_group_belongs_to_one_family() -> None:
    families: dict[str | None, set[str | None]] = {}
    for language in languages():
        families.setdefault(language.group, set()).add(language.family)
    assert all(len(found) == 1 for found in families.values())


def test_a_passage_that_a_longer_one_contains_is_not_repeated() -> None:
    assert distinct_passages(["Todos nacen libres", "libres", "", "e iguais "]) == (
        "Todos nacen libres\ne iguais"
    )


def test_the_metadata_carries_no_text() -> None:
    chosen = languages()
    shown = str(metadata(chosen))
    assert len(metadata(chosen)) == len(chosen)
    assert not any(language.text[:40] in shown for language in chosen)
