"""What a run's channels let through: the message models, and nothing else."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from ayni.lm import wire
from ayni.lm.inner.progress import Loss, Progress
from ayni.lm.outer.messages import (
    Compared,
    Contributed,
    Discarded,
    Evaluated,
    Event,
    Failed,
    Head,
    Held,
    Joined,
    Left,
    Link,
    Pause,
    Progressed,
    Readmit,
    Rejected,
    RollBack,
    Set,
    SiteEvent,
    Wish,
)
from ayni.lm.outer.schedule import warmed_up
from ayni.lm.outer.state import Rules
from ayni.lm.tags import MAX_TAG
from ayni.lm.voice import Voice
from ayni.protocol.channels import Schema, Unfit, read_schema

HEX = "0123456789abcdef" * 4
RULES = Rules(run="prueba", schedule=warmed_up(100))
UP = read_schema(wire.up_schema(RULES, 1000))
DOWN = read_schema(wire.down_schema(1000))
WISHES = read_schema(wire.wishes_schema())
KEY: dict[str, Any] = {"site": "norte", "fragment": "all"}
SAID: list[SiteEvent] = [
    Joined(site="norte", tokens_per_step=256),
    Held(version=3, digest=HEX, **KEY),
    Contributed(
        run="prueba", base=2, attempt=0, digest=HEX, nonce=HEX[:32], blob=HEX, size=9, tokens=8,
        steps=1, **KEY,
    ),
    Failed(base=2, attempt=0, reason=wire.NOT_FINITE, **KEY),
    Discarded(base=2, steps=3, tokens=4, **KEY),
    Evaluated(version=2, before=1.5, after=None, **KEY),
    Evaluated(version=2, before=1.5, after=1.25, **KEY),
    Compared(version=2, without="sur", loss=1.5, other=None, **KEY),
    Compared(version=2, without="sur", loss=1.5, other=1.75, **KEY),
    Progressed(site="norte", seq=1, doing="training", step=3, of=5),
]  # fmt: skip
WISHED: list[Wish] = [
    Pause(),
    RollBack(order="x", to=3),
    Set(name="lr", value=0.5, from_version=3),
    Readmit(site="norte", order="y"),
]


def passed(schema: Schema, event: Any) -> tuple[str, dict[str, Any]]:
    kind, body = wire.said(event)
    return kind, schema.check(kind, body, 9 if kind == "contributed" else None)


@pytest.mark.parametrize("event", SAID, ids=lambda e: e.kind)
def test_what_a_site_says_arrives_and_its_name_comes_from_the_network(event: SiteEvent) -> None:
    kind, body = passed(UP, event)
    assert not {"site", "run", "kind"} & set(body)
    assert wire.heard(kind, body, run="prueba", site="norte") == event
    other: Event = wire.heard(kind, body, run="prueba", site="sur")
    assert getattr(other, "site", None) == "sur"


@pytest.mark.parametrize("event", WISHED, ids=lambda e: e.kind)
def test_what_a_person_wishes_arrives(event: Wish) -> None:
    kind, body = wire.said(event)
    signed = {**body, "key": HEX, "at": 1 << 50, "signature": 2 * HEX}
    assert WISHES.check(kind, signed, None) == signed
    assert wire.heard(kind, body, run="prueba") == event
    with pytest.raises(Unfit, match="key: Field required"):
        WISHES.check(kind, body, None)


def test_every_kind_of_message_of_a_site_and_of_a_person_has_its_place() -> None:
    assert {type(event) for event in SAID} == set(wire.UP)
    assert set(wire.UP) == set(get_args(SiteEvent)) - {Left, Rejected}
    assert set(wire.WISHES) == set(get_args(Wish))


def test_a_head_arrives_as_it_was() -> None:
    links = (Link(version=4, update=HEX, digest=HEX), Link(version=5, update=None, digest=HEX))
    plain: dict[str, Any] = {
        "run": "prueba", "fragment": "all", "count": 1000, "version": 5, "digest": HEX,
        "status": "running", "step": 20, "inner_steps": 5, "window": 2, "evaluate": False,
        "snapshot_version": 3, "snapshot": HEX, "snapshot_digest": HEX,
    }  # fmt: skip
    for head in (Head(lr=None, chain=links, **plain), Head(lr=0.5, chain=(), **plain)):
        body = DOWN.check(wire.HEAD, wire.said_head(head), None)
        assert wire.heard_head(body, run="prueba") == head


@pytest.mark.parametrize(
    ("kind", "changes", "blob"),
    [
        ("failed", {"reason": "here is a line of a text"}, None),
        ("held", {"digest": "a-line-of-a-text"}, None),
        ("held", {"more": 1}, None),
        ("held", {"site": "sur"}, None),
        ("held", {}, 9),
        ("contributed", {}, None),
        ("contributed", {}, 5000),
        ("contributed", {"blob": "../../etc/passwd"}, 9),
        ("contributed", {"blob": HEX[:32]}, 9),
        ("progressed", {"doing": "reading the texts"}, None),
        ("secret", {}, None),
    ],
)
def test_nothing_else_leaves_a_site(kind: str, changes: dict[str, Any], blob: int | None) -> None:
    bodies = dict(wire.said(event) for event in SAID)
    with pytest.raises(Unfit):
        UP.check(kind, {**bodies.get(kind, {}), **changes}, blob)


@pytest.mark.parametrize(
    ("kind", "body", "site"),
    [
        ("pause", {}, "norte"),
        ("held", {"fragment": "all", "version": 1, "digest": HEX}, None),
        ("left", {"site": "sur"}, "norte"),
        ("joined", {"tokens_per_step": 0}, "norte"),
        ("joined", {}, "norte"),
    ],
)
def test_what_is_not_whole_or_another_s_to_say_is_not_heard(
    kind: str, body: dict[str, Any], site: str | None
) -> None:
    with pytest.raises(ValueError, match=kind):
        wire.heard(kind, body, run="prueba", site=site)


def test_no_site_may_send_much_more_than_its_contributions() -> None:
    rounds = RULES.schedule.rounds()
    assert UP.max_bytes < (1 << 27) + 2 * (rounds + RULES.keep) * (1 << 20)


def test_losses_of_more_languages_than_a_message_holds_are_told_the_smallest_as_one() -> None:
    """Also with tags as long as a corpus may have."""
    count = wire.LANGUAGES + 88
    names = [f"x-{'abcdefgh-' * 6}{number:08}" for number in range(count)]
    assert max(map(len, names)) == MAX_TAG
    progress = Progress(losses={n: Loss(2.0 * (i + 1), i + 1) for i, n in enumerate(names)})
    told: list[dict[str, Any]] = []

    class Up:
        def send(self, kind: str, body: dict[str, Any]) -> str:
            told.append(UP.check(kind, body, None))
            return "1"

    Voice("norte", Up()).losses(progress)  # type: ignore[arg-type]
    (body,) = told
    assert len(body["languages"]) == wire.LANGUAGES
    assert sum(body["tokens"]) == sum(range(count + 1))
    found = dict(zip(body["languages"], body["tokens"], strict=True))
    assert found["mul"] == sum(range(1, 90)) and names[89] in found and names[88] not in found
    assert set(body["losses"]) == {2.0}
