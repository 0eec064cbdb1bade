"""A signature binds all of a message and the place where it was said."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ayni.signatures import KEY, SIZE, Said, Signer, Wished, holds, new_secret

SIGNER = Signer(new_secret())
SAID = Said(
    project="quinua", channel="prueba-up", site="norte", task="t1", attempt="a1", number=7,
    kind="part", body={"count": 3, "total": 4.0, "word": "ñandú"}, blob="ab" * 32,
)  # fmt: skip
WISHED = Wished("quinua", "prueba-steering", 7, "set", {"name": "lr", "value": 0.5})
VALUES = st.one_of(
    st.integers(-(1 << 53), 1 << 53),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
)
BODIES = st.dictionaries(st.text("abc", max_size=3), VALUES | st.lists(VALUES, max_size=3))


@given(BODIES)
def test_what_was_signed_holds_after_it_travelled_as_json(body: dict[str, Any]) -> None:
    signature = SIGNER.sign(replace(SAID, body=body))
    travelled = json.loads(json.dumps(dict(reversed(body.items())), indent=2))
    assert len(signature) == 2 * SIZE
    assert holds(replace(SAID, body=travelled), signature, SIGNER.public)


@pytest.mark.parametrize("name", [field.name for field in fields(Said)])
def test_nothing_of_it_can_be_changed(name: str) -> None:
    signature = SIGNER.sign(SAID)
    value = getattr(SAID, name)
    others: list[Any] = {
        "number": [8, 0], "body": [{}, {**SAID.body, "count": 4}, {**SAID.body, "count": 3.0}],
        "blob": [None, "ab" * 31 + "aa"],
    }.get(name, [f"{value}x", ""])  # fmt: skip
    for other in others:
        assert not holds(replace(SAID, **{name: other}), signature, SIGNER.public), other


@pytest.mark.parametrize("name", [field.name for field in fields(Wished)])
def test_nothing_of_a_wish_can_be_changed(name: str) -> None:
    signature = SIGNER.sign(WISHED)
    assert holds(WISHED, signature, SIGNER.public)
    other: Any = {"at": 8, "body": {**WISHED.body, "value": 5}}.get(name, "another")
    assert not holds(replace(WISHED, **{name: other}), signature, SIGNER.public)


def test_what_sites_and_what_people_sign_begins_with_words_of_its_own() -> None:
    """Or a task could say what its site's key makes a wish of."""
    of_site, of_person = (one.signed_bytes().partition(b"\n")[0] for one in (SAID, WISHED))
    assert b"site" in of_site and b"person" in of_person
    assert not of_site.startswith(of_person) and not of_person.startswith(of_site)


@pytest.mark.parametrize(
    ("signature", "public"),
    [
        (SIGNER.sign(SAID), Signer(new_secret()).public),
        (SIGNER.sign(SAID)[:-2], SIGNER.public),
        ("", SIGNER.public),
        ("zz" * SIZE, SIGNER.public),
        (SIGNER.sign(SAID), ""),
        (SIGNER.sign(SAID), "zz" * KEY),
        ("00" * SIZE, "00" * KEY),
    ],
    ids=[
        "another's key", "cut off", "no signature", "no hexadecimal", "no key", "a key that is none",
        "zeros",
    ],
)  # fmt: skip
def test_what_is_malformed_or_another_s_does_not_hold(signature: str, public: str) -> None:
    assert not holds(SAID, signature, public)


def test_a_key_is_the_same_after_a_restart_and_no_other_length_is_one() -> None:
    secret = new_secret()
    assert Signer(secret).sign(SAID) == Signer(secret).sign(SAID)
    for wrong in (secret[:-2], secret + "00", "", "zz"):
        with pytest.raises(ValueError):
            Signer(wrong)
