"""POSIX 2.13 patterns."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ayni.agent.staging.wildcards import has_wildcards, matches


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("*", ["a", "a.b", "ñ"], [".a"]),
        (".*", [".a", "."], ["a"]),
        ("*.txt", ["a.txt", "a.b.txt"], ["a.txtx", ".txt", "a.TXT"]),
        ("?", ["a", "ñ"], ["", "ab", "."]),
        ("a?c", ["abc", "a.c"], ["ac", "abbc"]),
        ("[abc]", ["a", "b"], ["d", "ab"]),
        ("[a-c]x", ["ax", "cx"], ["dx"]),
        ("[!a-c]x", ["dx"], ["ax", ".x"]),
        ("[^a]", ["b"], ["a"]),
        ("[]a]", ["]", "a"], ["b"]),
        ("[!]a]", ["b"], ["]", "a"]),
        ("[a-]", ["a", "-"], ["b"]),
        ("[[:digit:]]*", ["1a", "9"], ["a1"]),
        ("[[:upper:][:digit:]]", ["A", "1"], ["a"]),
        ("[", ["["], ["a"]),
        ("[a", ["[a"], ["a"]),
        (r"\*", ["*"], ["a"]),
        (r"a\?", ["a?"], ["ab"]),
        ("sample_[0-9][0-9].vcf", ["sample_07.vcf"], ["sample_7.vcf", "sample_007.vcf"]),
        ("**", ["a"], []),
        ("", [""], ["a"]),
    ],
)
def test_patterns_match_as_posix_says(pattern: str, yes: list[str], no: list[str]) -> None:
    assert [name for name in yes if not matches(pattern, name)] == []
    assert [name for name in no if matches(pattern, name)] == []


def test_a_bomb_of_stars_does_not_explode() -> None:
    assert not matches("*a" * 40 + "*b", "a" * 250)
    assert matches("*a" * 40 + "*b", "a" * 250 + "b")


def test_a_bomb_of_brackets_is_only_text() -> None:
    assert not matches("[" * 5000, "a")


@given(st.text(alphabet="ab*?[]!^-\\.:", max_size=12), st.text(alphabet="ab[].-!", max_size=8))
def test_no_pattern_makes_it_fall(pattern: str, name: str) -> None:
    assert matches(pattern, name) in (True, False)


@given(st.text(alphabet="ab.", max_size=10))
def test_a_name_matches_itself_and_all_stars(name: str) -> None:
    assert matches(name, name)
    assert matches("*", name) or name.startswith(".")


@given(st.text(alphabet="ab*", max_size=8), st.text(alphabet="ab", max_size=10))
def test_stars_match_as_a_naive_matcher_says(pattern: str, name: str) -> None:
    def naive(p: str, n: str) -> bool:
        if not p:
            return not n
        if p[0] == "*":
            return naive(p[1:], n) or (bool(n) and naive(p, n[1:]))
        return bool(n) and p[0] == n[0] and naive(p[1:], n[1:])

    assert matches(pattern, name) == naive(pattern, name)


def test_what_is_a_pattern() -> None:
    assert has_wildcards("/a/*.txt")
    assert not has_wildcards("/a/b.txt")
