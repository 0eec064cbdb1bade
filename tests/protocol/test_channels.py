"""What a channel's schema lets through, and what not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ayni.protocol.channels import (
    Schema,
    Unfit,
    admitted,
    canonical,
    cost,
    digest,
    read_schema,
)

SUMS: dict[str, Any] = {
    "kinds": {
        "sums": {
            "fields": {
                "count": {"type": "integer", "minimum": 0, "maximum": 1000},
                "total": {"type": "number", "minimum": -1e6, "maximum": 1e6},
                "site": {"type": "enumeration", "values": ["norte", "sur"]},
                "round": {"type": "string", "pattern": "r[0-9]+", "max_length": 8},
                "losses": {"type": "number", "minimum": 0, "maximum": 9, "many": 3},
                "last": {"type": "boolean", "optional": True},
            }
        },
        "delta": {"fields": {}, "blob": {"max_bytes": 100}},
        "note": {"blob": {"max_bytes": 5, "required": False}},
    }
}
GOOD: dict[str, Any] = {
    "count": 3, "total": 1.5, "site": "sur", "round": "r1", "losses": [1, 2.5],
}  # fmt: skip


@pytest.fixture(scope="module")
def schema() -> Schema:
    return read_schema(SUMS)


def test_what_is_listed_passes(schema: Schema) -> None:
    assert schema.check("sums", GOOD, None) == GOOD
    assert schema.check("sums", {**GOOD, "last": True}, None)["last"] is True
    assert schema.check("delta", {}, 100) == {}
    assert schema.check("note", {}, None) == {}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"count": 1001}, "count"),
        ({"count": -1}, "count"),
        ({"count": 1.5}, "count"),
        ({"count": True}, "count"),
        ({"count": "3"}, "count"),
        ({"total": float("nan")}, "total"),
        ({"total": float("inf")}, "total"),
        ({"total": 1e7}, "total"),
        ({"total": "1"}, "total"),
        ({"site": "oeste"}, "site"),
        ({"round": "r1\n"}, "round"),
        ({"round": "xr1"}, "round"),
        ({"round": "r1x"}, "round"),
        ({"round": "r" + "1" * 8}, "round"),
        ({"losses": [1, 2, 3, 4]}, "losses"),
        ({"losses": [1, "2"]}, "losses.1"),
        ({"losses": 1}, "losses"),
        ({"secret": 1}, "secret"),
        ({"last": 1}, "last"),
    ],
)
def test_what_is_not_listed_does_not_pass_and_the_field_is_named(
    schema: Schema, change: dict[str, Any], field: str
) -> None:
    with pytest.raises(Unfit) as refused:
        schema.check("sums", {**GOOD, **change}, None)
    assert refused.value.code == "body"
    assert str(refused.value).startswith(f"{field}: ")


def test_a_field_that_is_missing_is_named(schema: Schema) -> None:
    with pytest.raises(Unfit, match="count"):
        schema.check("sums", {k: v for k, v in GOOD.items() if k != "count"}, None)


@pytest.mark.parametrize(
    ("kind", "body", "blob", "code"),
    [
        ("other", {}, None, "kind"),
        ("sums", GOOD, 1, "blob"),
        ("delta", {}, None, "blob"),
        ("delta", {}, 101, "blob"),
        ("note", {}, 6, "blob"),
        ("note", [], None, "body"),
        ("note", None, None, "body"),
        ("note", "x" * 10, None, "body"),
    ],
)
def test_kinds_and_blobs_are_as_listed(
    schema: Schema, kind: str, body: Any, blob: int | None, code: str
) -> None:
    with pytest.raises(Unfit) as refused:
        schema.check(kind, body, blob)
    assert refused.value.code == code


def test_a_body_has_a_bound_as_a_whole() -> None:
    text = {"type": "string", "pattern": "a*", "max_length": 4096}
    schema = read_schema({"kinds": {"k": {"fields": {"a": text, "b": text}}}, "max_body": 5000})
    schema.check("k", {"a": "a" * 4096, "b": ""}, None)
    with pytest.raises(Unfit) as refused:
        schema.check("k", {"a": "a" * 4096, "b": "a" * 4096}, None)
    assert refused.value.code == "size"


def test_a_pattern_that_takes_others_for_ever_takes_no_time() -> None:
    evil = {"type": "string", "pattern": "(a|a)*(a|a)*b", "max_length": 4096}
    schema = read_schema({"kinds": {"k": {"fields": {"x": evil}}}})
    with pytest.raises(Unfit):
        schema.check("k", {"x": "a" * 4096}, None)


def changed(path: str, value: Any) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(json.dumps(SUMS))
    *above, last = path.split("/")
    place = document
    for key in above:
        place = place[key]
    place[last] = value
    return document


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("kinds", {}),
        ("kinds/Sums", {}),
        ("kinds/sums/extra", 1),
        ("kinds/sums/fields/a b", {"type": "boolean"}),
        ("kinds/sums/fields/x", {"type": "object"}),
        ("kinds/sums/fields/x", {"type": "string"}),
        ("kinds/sums/fields/x", {"type": "string", "pattern": "a)|(?:.*", "max_length": 9}),
        ("kinds/sums/fields/x", {"type": "string", "pattern": "(", "max_length": 9}),
        ("kinds/sums/fields/x", {"type": "string", "pattern": "(?x)a#", "max_length": 9}),
        ("kinds/sums/fields/x", {"type": "string", "pattern": ".*", "max_length": 1 << 20}),
        ("kinds/sums/fields/x", {"type": "number", "minimum": 0}),
        ("kinds/sums/fields/x", {"type": "integer", "minimum": 2, "maximum": 1}),
        ("kinds/sums/fields/x", {"type": "integer", "minimum": 0, "maximum": 1 << 60}),
        ("kinds/sums/fields/x", {"type": "enumeration", "values": []}),
        ("kinds/sums/fields/x", {"type": "boolean", "many": 1 << 20}),
        ("kinds/delta/blob/max_bytes", 0),
        ("max_body", 1 << 20),
        ("rate", 0),
        ("max_bytes", "1GiB"),
        ("other", 1),
    ],
)
def test_a_schema_that_bounds_nothing_is_none(path: str, value: Any) -> None:
    with pytest.raises(ValueError, match=path.split("/")[-1] if value != {} else "."):
        read_schema(changed(path, value))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4)
    ),
    max_leaves=10,
)


kinds = st.text(max_size=10) | st.sampled_from(["sums", "delta", "note"])


@given(kinds, json_values, st.none() | st.integers(0, 200))
def test_whatever_is_said_passes_as_listed_or_not_at_all(
    schema: Schema, kind: str, body: Any, blob: int | None
) -> None:
    try:
        passed = schema.check(kind, body, blob)
    except Unfit:
        return
    assert set(passed) <= set(schema.kinds[kind].fields)
    assert schema.check(kind, json.loads(canonical(passed)), blob) == passed
    assert cost(kind, passed, blob) >= len(canonical(passed))


def test_the_digest_tells_all_that_is_said_and_no_order() -> None:
    same = digest("k", {"a": 1, "b": 2}, None)
    assert same == digest("k", {"b": 2, "a": 1}, None)
    others = [("k", {"a": 1}, None), ("l", {"a": 1, "b": 2}, None), ("k", {"a": 1, "b": 2}, "ab")]
    assert same not in {digest(*other) for other in others}


@pytest.mark.parametrize(
    ("patterns", "yes"),
    [
        (None, True),
        ([], False),
        (["quinua"], True),
        (["quin*"], True),
        (["quinua/sums"], True),
        (["*/sums"], True),
        (["quinua/other"], False),
        (["maiz"], False),
    ],
)
def test_a_policy_names_projects_or_channels(patterns: list[str] | None, yes: bool) -> None:
    assert admitted(patterns, "quinua", "sums") is yes
