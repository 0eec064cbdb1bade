"""Who may steer a run: wishes are heard of those whose keys the coordinator has, once, and in their order."""

from __future__ import annotations

import json
import shutil
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

pytest.importorskip("torch")

from ayni.cli.frame import build
from ayni.client.channels import ChannelSender
from ayni.client.keys import read_keys, write_keys
from ayni.errors import UserError
from ayni.lm import launch, run_commands, steering, wire
from ayni.lm.outer.messages import Pause, Resume, Set
from ayni.lm.outer.state import dump
from ayni.signatures import Said, Signer, new_secret
from tests.lm.lines import CHANNEL, PERSON, PROJECT, Line, signer
from tests.lm.test_config import GOOD
from tests.lm.world import World, run

RATE = Set(name="lr", value=0.5, from_version=3)


def wishes(world: World) -> Line:
    assert world.lines is not None and isinstance(world.lines.wishes, Line)
    return world.lines.wishes


def answers(world: World) -> dict[int, str | None]:
    """Why each wish that was answered was refused; None: it was heard."""
    said = [one.body for one in wishes(world).said if one.kind == wire.ANSWER]
    return {one["wish"]: one.get("refused") for one in said}


def known(world: World) -> dict[str, Any]:
    """All that the coordinator knows, but for the time."""
    found: dict[str, Any] = json.loads(dump(world.hub.coordinator.state))
    return found | {"now": 0}


def say(world: World, kind: str, body: Mapping[str, Any]) -> int:
    """A message in that person's name, past the schema: as the hub may put it there."""
    line = wishes(world)
    said = line.said[line.send("answer", {"wish": 0}) - 1]
    line.said[-1] = said.model_copy(update={"kind": kind, "body": dict(body)})
    return said.sequence


def signed(world: World, wish: Any = RATE, **where: Any) -> tuple[str, dict[str, Any]]:
    of = world.run.model_copy(update={"run": where["run"]}) if "run" in where else world.run
    return steering.sign(where.get("signer", PERSON), where.get("project", PROJECT), of, wish)


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path, run())
    world.hub.step()
    return world


def test_what_somebody_signed_who_may_steer_is_heard_and_they_are_told(world: World) -> None:
    number = world.wish(RATE)
    world.hub.step()
    assert [one.value for one in world.hub.coordinator.state.settings] == [0.5]
    assert answers(world) == {number: None} and not world.books("rejected")


def unsigned(world: World) -> tuple[str, dict[str, Any]]:
    return wire.said(RATE)


def torn(world: World) -> tuple[str, dict[str, Any]]:
    kind, body = signed(world)
    return kind, {**body, "signature": body["signature"][:-2]}


def changed(world: World) -> tuple[str, dict[str, Any]]:
    kind, body = signed(world)
    return kind, {**body, "value": 5.0}


def later(world: World) -> tuple[str, dict[str, Any]]:
    kind, body = signed(world)
    return kind, {**body, "at": body["at"] + 1}


def of_another_kind(world: World) -> tuple[str, dict[str, Any]]:
    _, body = signed(world, Resume())
    return "pause", body


def of_a_site(world: World) -> tuple[str, dict[str, Any]]:
    """Signed by a site's agent whose key is in the file by mistake."""
    write_keys(world.folder / steering.KEYS, {"norte": signer("norte").public})
    kind, body = wire.said(RATE)
    said = Said(PROJECT, CHANNEL, "norte", "t", "a", 1, kind, body, None)
    public = signer("norte").public
    signature = signer("norte").sign(said)
    return kind, {**body, "key": public, "at": steering.clock(), "signature": signature}


def none_that_is_known(world: World) -> tuple[str, dict[str, Any]]:
    return signed(world, Set.model_construct(name="everything", value=1.0, from_version=3))


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (unsigned, wire.UNSIGNED),
        (lambda world: signed(world, signer=Signer(new_secret())), wire.FOREIGN),
        (torn, wire.FORGED),
        (changed, wire.FORGED),
        (later, wire.FORGED),
        (of_another_kind, wire.FORGED),
        (of_a_site, wire.FORGED),
        (lambda world: signed(world, run="otra"), wire.FORGED),
        (lambda world: signed(world, project="maiz"), wire.FORGED),
        (none_that_is_known, wire.STRANGE),
        (lambda world: ("pause", {"key": 1, "at": "x", "signature": None}), wire.UNSIGNED),
        (lambda world: ("surprise", signed(world)[1]), wire.FORGED),
    ],
    ids=[
        "unsigned", "another's key", "cut off", "another body", "another time", "another kind",
        "a site's", "for another run", "for another project", "no wish", "malformed", "no kind",
    ],
)  # fmt: skip
def test_anything_else_is_refused_with_the_reason_and_changes_nothing(
    world: World, make: Callable[[World], tuple[str, dict[str, Any]]], why: str
) -> None:
    before = known(world)
    number = say(world, *make(world))
    world.hub.step()
    assert known(world) == before
    assert answers(world) == {number: why}
    (noted,) = world.books("rejected")
    assert noted["site"] == "person" and str(noted["reason"]).endswith(why)
    assert any(why in one["text"] for one in world.hub.status()["alarms"])
    world.wish(Pause())
    write_keys(world.folder / steering.KEYS, {"ana": PERSON.public})
    world.hub.step()
    assert world.hub.coordinator.state.paused, "it is deaf now"


@pytest.mark.parametrize("killed", [False, True])
def test_no_wish_is_heard_twice_or_in_another_order_whoever_is_killed(
    world: World, killed: bool
) -> None:
    pause, resume, older = signed(world, Pause()), signed(world, Resume()), signed(world)
    first = [say(world, *pause), say(world, *older)]
    world.hub.step()
    assert answers(world) == {first[0]: None, first[1]: None}
    if killed:
        world.hub.close()
        world.coordinate()
    again = [say(world, *one) for one in (resume, pause, older)]
    before = known(world)
    world.hub.step()
    assert known(world) == before and before["paused"]
    assert [answers(world)[number] for number in again] == 3 * [wire.STALE]


def test_what_is_wished_while_nobody_coordinates_is_heard_by_the_next_who_does(
    world: World,
) -> None:
    world.hub.close()
    number = world.wish(Pause())
    world.coordinate().step()
    assert answers(world) == {number: None} and world.hub.coordinator.state.paused


def test_a_coordinator_killed_before_it_answered_has_heard_the_wish_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.wish(RATE)
    with monkeypatch.context() as patch:
        patch.setattr(wishes(world), "send", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            world.hub.step()
    world.hub.close()
    world.coordinate().step()
    assert len(world.hub.coordinator.state.settings) == 1
    assert not answers(world) and not world.books("rejected")


def test_who_floods_a_run_with_wishes_keeps_nobody_else_from_being_heard(world: World) -> None:
    stranger = Signer(new_secret())
    for _ in range(30):
        world.wish(Resume(), stranger)
    number = world.wish(Pause())
    world.hub.step()
    told = answers(world)
    assert world.hub.coordinator.state.paused and told.pop(number, "nothing") is None
    assert 0 < len(told) < 30 and set(told.values()) == {wire.FOREIGN}
    assert len(world.books("rejected")) == 30


def test_what_a_hub_puts_for_a_key_is_no_word_to_a_terminal(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    say(world, "pause\x1b[2J", {"key": "\x1b[2J\n" * 99})
    world.hub.step()
    (noted,) = world.books("rejected")
    assert not {"\x1b", "\n"} & set(f"{noted['reason']}{caplog.messages[-1]}")
    assert str(noted["reason"]).endswith(wire.UNSIGNED)


def test_what_is_answered_is_no_wish(world: World) -> None:
    wishes(world).send(wire.ANSWER, {"wish": 7, "refused": wire.FORGED})
    before, said = known(world), len(wishes(world).said)
    for _ in range(3):
        world.hub.step()
    assert known(world) == before and len(wishes(world).said) == said


@pytest.mark.parametrize(("hours", "why"), [(25, wire.LATE), (-1, wire.EARLY), (23, None)])
def test_a_wish_that_was_held_back_for_more_than_a_day_or_is_of_tomorrow_is_refused(
    world: World, monkeypatch: pytest.MonkeyPatch, hours: int, why: str | None
) -> None:
    number, now = world.wish(RATE), steering.clock()
    monkeypatch.setattr(steering, "clock", lambda: now + hours * 3600 * 1_000_000)
    world.hub.step()
    assert answers(world) == {number: why}


def test_a_run_begun_anew_does_not_hear_the_wishes_of_the_one_before(world: World) -> None:
    world.wish(Pause())
    world.hub.step()
    world.hub.close()
    shutil.rmtree(world.folder / "run")
    again = world.coordinate()
    again.step()
    assert not again.coordinator.state.paused
    (noted,) = world.books("rejected")
    assert str(noted["reason"]).endswith(wire.STALE)


def test_a_run_of_before_signatures_goes_on(world: World) -> None:
    state = world.hub.coordinator.state
    world.hub.journal.commit(state, cursor={"up": 0, "wishes": 4})
    world.hub.close()
    again = world.coordinate()
    world.wish(Pause())
    again.step()
    assert again.coordinator.state.paused


def test_who_may_steer_can_be_changed_while_the_run_goes_on(world: World) -> None:
    path, eva = world.folder / steering.KEYS, Signer(new_secret())
    refused = world.wish(Pause(), eva)
    world.hub.step()
    write_keys(path, {**read_keys(path), "eva": eva.public})
    heard = world.wish(Pause(), eva)
    world.hub.step()
    write_keys(path, {"eva": eva.public})
    last = world.wish(Resume())
    world.hub.step()
    assert answers(world) == {refused: wire.FOREIGN, heard: None, last: wire.FOREIGN}


@pytest.mark.parametrize("text", ["{", "[]", '{"ana": "no key"}'])
def test_a_file_of_keys_that_somebody_spoilt_lets_nobody_steer_and_ends_no_run(
    world: World, text: str
) -> None:
    (world.folder / steering.KEYS).write_text(text)
    number = world.wish(Pause())
    world.hub.step()
    assert answers(world) == {number: wire.UNREADABLE}
    assert not world.hub.coordinator.state.paused


# --- what a person does -----------------------------------------------------------------------


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def ayni(*arguments: object) -> Result:
    return CliRunner().invoke(build(), ["lm", *map(str, arguments)])


def test_who_coordinates_may_steer_and_has_nothing_to_do_for_it(home: Path, world: World) -> None:
    keys = world.folder / "run" / steering.KEYS
    mine = steering.Steering(PROJECT, world.run, keys)
    mine.begin()
    path = home / "ayni" / "signing.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_keys(keys) == {"coordinator": steering.own_key().public}
    assert ayni("key").stdout.strip() == steering.own_key().public
    write_keys(keys, {})
    mine.begin()
    assert read_keys(keys) == {}, "who was taken out is in again"


def test_a_key_that_others_may_read_is_not_used(home: Path) -> None:
    steering.own_key()
    (home / "ayni" / "signing.key").chmod(0o644)
    with pytest.raises(UserError, match="chmod 600"):
        steering.own_key()


@dataclass
class Hub:
    """A hub with one channel, behind which a coordinator is, or none."""

    line: Line
    answer: Mapping[str, Any] | None
    project: str = PROJECT
    name: str = ""

    def make_channel(self, name: str, schema: Any, **_: Any) -> Hub:
        self.name = name
        return self

    def send(self, kind: str, body: Any) -> int:
        return self.line.send(kind, body)

    def receive(self, after: int, timeout: float | None = None) -> Any:
        if self.answer is not None:
            person = ChannelSender(person="ana@norte.example")
            for body in (
                {"wish": after + 9, "refused": wire.STALE},
                {"wish": after, **self.answer},
            ):
                self.line.put(wire.ANSWER, body, None, person)
        return self.line.messages(after)


@pytest.mark.parametrize(
    ("answer", "heard"), [({}, True), ({"refused": wire.FOREIGN}, None), (None, False)]
)
def test_a_person_is_told_whether_the_coordinator_heard_them(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: Any, heard: bool | None
) -> None:
    path = tmp_path / "run.toml"
    path.write_text(GOOD)
    hub = Hub(Line(wire.wishes_schema()), answer)
    monkeypatch.setattr(run_commands, "open_network", lambda: hub)
    monkeypatch.setattr(launch, "check_project", lambda *_: None)
    done = ayni("pause", path, "--json")
    said = hub.line.said[0].body
    assert hub.name == "prueba-steering" and said["key"] == steering.own_key().public
    if heard is None:
        assert isinstance(done.exception, UserError)
        assert "was refused: its key is not in the coordinator's" in str(done.exception)
    else:
        assert json.loads(done.stdout) == {"run": "prueba", "wish": 1, "heard": heard}
