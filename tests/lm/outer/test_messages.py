"""Everything from a site is bounded and strict before the machine sees it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ayni.lm.outer.messages import EVENTS, Contributed, nonce_of

GOOD: dict[str, object] = {
    "kind": "contributed",
    "run": "r",
    "fragment": "all",
    "base": 0,
    "site": "a",
    "attempt": 0,
    "digest": "d1",
    "nonce": "n1",
    "blob": "b1",
    "size": 10,
    "tokens": 5,
    "steps": 5,
    "core_seconds": 3,
    "gpu_seconds": 2,
}


@pytest.mark.parametrize(
    ("field", "bad"),
    [
        ("site", "../a"),
        ("site", "a/b"),
        ("site", "a\n"),
        ("site", ""),
        ("site", "x" * 65),
        ("blob", "../../etc/passwd"),
        ("blob", "a/b"),
        ("blob", "x" * 129),
        ("base", -1),
        ("base", 2**60),
        ("base", 1.5),
        ("base", "0"),
        ("base", True),
        ("tokens", 0),
        ("tokens", 1 << 60),
        ("steps", 0),
        ("size", 0),
        ("kind", "erase"),
        ("more", 1),
    ],
)
def test_a_message_that_cannot_be_is_refused_by_the_field(field: str, bad: object) -> None:
    with pytest.raises(ValidationError) as failed:
        EVENTS.validate_json(json.dumps([{**GOOD, field: bad}]))
    assert field in str(failed.value.errors()[0]["loc"]) or field == "kind"


def test_a_good_message_survives_json() -> None:
    (event,) = EVENTS.validate_json(json.dumps([GOOD]))
    assert isinstance(event, Contributed) and event.key == "0/a/0"
    assert EVENTS.validate_json(EVENTS.dump_json([event])) == [event]


@given(st.binary(max_size=200))
def test_noise_is_refused_and_nothing_worse(noise: bytes) -> None:
    with pytest.raises(ValidationError):
        EVENTS.validate_json(b"[" + noise + b"]x")


def test_a_nonce_is_of_one_run_fragment_version_digest_and_site() -> None:
    plain = ("r", "all", 1, "d", "a")
    others = [("s", "all", 1, "d", "a"), ("r", "b", 1, "d", "a"), ("r", "all", 2, "d", "a")]
    others += [("r", "all", 1, "e", "a"), ("r", "all", 1, "d", "b")]
    assert len({nonce_of(*one) for one in [plain, *others]}) == 6
