"""A hub cannot speak for a site whose key is pinned."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ayni.client.channels import BlobInfo, ChannelMessage, ChannelSender
from ayni.client.errors import AyniError
from ayni.client.keys import SiteKeys, Unsigned
from ayni.signatures import Said, Signer, new_secret

NORTE, SUR = Signer(new_secret()), Signer(new_secret())
HUB = {"norte": NORTE.public, "sur": SUR.public}
BLOB = "ab" * 32


def message(number: int = 1, by: Signer = NORTE, **change: Any) -> ChannelMessage:
    """What `norte` said as its number, as the hub hands it over."""
    body = {"count": number}
    said = Said("quinua", "up", "norte", "t1", "a1", number, "part", body, BLOB)
    handed = {
        "sequence": 10 * number,
        "kind": "part",
        "body": body,
        "blob": BlobInfo(size=3, sha256=BLOB),
        "sender": ChannelSender(site="norte", task="t1", attempt="a1"),
        "created": datetime.now(UTC),
        "number": number,
        "signature": by.sign(said),
    }
    return ChannelMessage.model_validate({**handed, **change})


@pytest.fixture
def keys(tmp_path: Path) -> SiteKeys:
    return SiteKeys(tmp_path / "keys.json", HUB.get)


def test_a_site_s_own_words_are_believed_and_its_key_is_pinned(keys: SiteKeys) -> None:
    for number in (1, 2, 5):
        keys.check("quinua", "up", message(number))
    for number in (5, 2):  # looked at once more
        keys.check("quinua", "up", message(number))
    assert json.loads(keys.path.read_text()) == {"norte": NORTE.public}
    assert keys.refused == {}


def test_many_messages_are_held_against_a_key_that_is_pinned_meanwhile(keys: SiteKeys) -> None:
    """A coordinator brings several contributions at once, those of its first round among them."""
    keys.ask = lambda site: time.sleep(0.05) or HUB.get(site)
    with ThreadPoolExecutor(8) as pool:
        for found in [
            pool.submit(keys.check, "quinua", "up", message(number)) for number in range(1, 40)
        ]:
            found.result()
    assert json.loads(keys.path.read_text()) == {"norte": NORTE.public}


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"body": {"count": 2}}, "does not hold"),
        ({"kind": "other"}, "does not hold"),
        ({"blob": None}, "does not hold"),
        ({"blob": BlobInfo(size=3, sha256="cd" * 32)}, "does not hold"),
        ({"number": 3}, "does not hold"),
        ({"sender": ChannelSender(site="sur", task="t1", attempt="a1")}, "does not hold"),
        ({"sender": ChannelSender(site="norte", task="t2", attempt="a1")}, "does not hold"),
        ({"sender": ChannelSender(site="norte", task="t1", attempt="a2")}, "does not hold"),
        ({"signature": SUR.sign(Said("", "", "", "", "", 1, "", {}, None))}, "does not hold"),
        ({"signature": None}, "has not signed"),
        ({"number": None}, "has not signed"),
        ({"sender": ChannelSender(site="oeste", task="t1", attempt="a1")}, "published no key"),
        ({"sender": ChannelSender(person="ana@norte.example")}, "no task of a site"),
    ],
)
def test_what_a_hub_changes_adds_or_says_in_a_site_s_name_is_refused(
    keys: SiteKeys, change: dict[str, Any], word: str
) -> None:
    with pytest.raises(Unsigned, match=word):
        keys.check("quinua", "up", message().model_copy(update=change))
    assert sum(keys.refused.values()) == 1
    keys.check("quinua", "up", message())


def test_what_was_said_elsewhere_or_before_is_not_said_again(keys: SiteKeys) -> None:
    keys.check("quinua", "up", message(1))
    keys.check("quinua", "up", message(2))
    for project, channel in (("maiz", "up"), ("quinua", "down")):
        with pytest.raises(Unsigned, match="does not hold"):
            keys.check(project, channel, message(3))
    for number in (1, 2):
        with pytest.raises(Unsigned, match="before"):
            keys.check("quinua", "up", message(number, sequence=99))


def test_an_attempt_s_messages_come_in_the_order_of_their_numbers(keys: SiteKeys) -> None:
    for number, sequence in ((5, 50), (3, 30), (7, 70)):
        keys.check("quinua", "up", message(number, sequence=sequence))
    for number, sequence in ((7, 71), (3, 99), (8, 60)):
        with pytest.raises(Unsigned, match="before, or elsewhere"):
            keys.check("quinua", "up", message(number, sequence=sequence))
    keys.check("quinua", "up", message(8))


def test_what_is_remembered_of_messages_does_not_grow_with_them(
    keys: SiteKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ayni.client.keys._ATTEMPTS", 3)
    for number in range(1, 50):
        keys.check("quinua", "up", message(number))
    assert len(keys._last) == 1
    for attempt in "bcdef":
        said = Said("quinua", "up", "norte", "t1", attempt, 1, "part", {"count": 1}, BLOB)
        sender = ChannelSender(site="norte", task="t1", attempt=attempt)
        keys.check("quinua", "up", message(1, sender=sender, signature=NORTE.sign(said)))
    assert len(keys._last) == 3


def test_the_file_is_read_when_it_has_changed_and_not_for_each_message(
    keys: SiteKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys.check("quinua", "up", message(1))
    whole, read = keys.key_of, []
    monkeypatch.setattr(keys, "key_of", lambda site: read.append(site) or whole(site))
    for number in range(2, 9):
        keys.check("quinua", "up", message(number))
    assert read == ["norte"]
    keys.path.write_text(json.dumps({"norte": SUR.public, "more": SUR.public}))
    with pytest.raises(Unsigned, match="does not hold"):
        keys.check("quinua", "up", message(9))


def test_another_key_is_believed_only_when_somebody_has_put_it_into_the_file(
    keys: SiteKeys,
) -> None:
    keys.check("quinua", "up", message(1))
    new = Signer(new_secret())
    keys.ask = {"norte": new.public}.get
    with pytest.raises(Unsigned, match="ayni site key show"):
        keys.check("quinua", "up", message(2, by=new))
    keys.path.write_text(json.dumps({"norte": new.public}))
    keys.check("quinua", "up", message(2, by=new))
    with pytest.raises(Unsigned):
        keys.check("quinua", "up", message(3))


def test_who_writes_the_file_before_believes_the_hub_not_even_once(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_text(json.dumps({"norte": NORTE.public}))
    keys = SiteKeys(path, {"norte": SUR.public}.get)
    keys.check("quinua", "up", message(1))
    with pytest.raises(Unsigned):
        keys.check("quinua", "up", message(2, by=SUR))


@pytest.mark.parametrize("text", ["", "[]", '{"norte": 1}', '{"norte": "ab"}', "\x00"])
def test_a_file_that_is_none_is_said_to_be_and_nothing_is_believed(
    keys: SiteKeys, text: str
) -> None:
    keys.path.write_text(text)
    with pytest.raises(AyniError, match=r"keys\.json"):
        keys.check("quinua", "up", message())
    assert keys.path.read_text() == text
