"""What a run takes of the project's quota: blobs go when nobody can need them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from ayni.client.errors import NotAllowed
from ayni.lm import room
from ayni.lm.config import Run
from ayni.lm.outer.lineage import referenced
from ayni.lm.outer.messages import RollBack
from ayni.lm.release.held import OnChannel
from tests.lm.lines import Line
from tests.lm.world import World
from tests.lm.world import run as configured


def run(*, history: bool = False, **rules: Any) -> Run:
    return configured(**rules).model_copy(update={"history": history})


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_EVERY", 0.0)
    monkeypatch.setattr(room, "_GRACE", 0.0)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    world = World(tmp_path_factory.mktemp("undisturbed"), run(keep=1, snapshot_every=2))
    return world.begin().to_the_end().weights()


def lines(world: World) -> tuple[Line, Line]:
    assert world.lines is not None
    assert isinstance(world.lines.up, Line) and isinstance(world.lines.down, Line)
    return world.lines.up, world.lines.down


@pytest.mark.usefixtures("at_once")
def test_only_what_somebody_can_need_stays_and_the_weights_are_the_same(
    undisturbed: bytes, tmp_path: Path
) -> None:
    """Also where the coordinator is killed at each turn, and a site comes late with other weights."""
    world = World(tmp_path, run(keep=1, snapshot_every=2)).begin()
    up, down = lines(world)
    most = 0
    while not all(site.done for site in world.sites.values()):
        world.turn()
        most = max(most, len(up.blobs))
        world.hub.close()
        world.coordinate()
    world.hub.step()
    assert world.weights() == undisturbed
    assert not up.held() and most <= 6  # of two rounds of three sites
    needed = referenced(world.hub.coordinator.state)
    assert down.held().keys() <= needed and len(down.held()) < 6
    assert not world.books("refused") and not world.books("alarm")


@pytest.mark.usefixtures("at_once")
def test_a_newcomer_and_a_rollback_find_what_they_need(tmp_path: Path) -> None:
    of = run(keep=2, snapshot_every=2, quorum=2)
    world = World(tmp_path, of).begin("bogota", "cdmx")
    world.until(4)
    world.wish(RollBack(order="one", to=3))
    world.turn()
    world.site("santiago", seed=7)
    world.to_the_end()
    assert len(world.books("rolled back")) == 1
    assert {site.trainer.digest() for site in world.sites.values()} == {
        world.hub.coordinator.heads()[0].digest
    }


@pytest.mark.usefixtures("at_once")
def test_what_was_not_heard_yet_stays(tmp_path: Path) -> None:
    world = World(tmp_path, run(quorum=2)).begin()
    world.hub.step()
    for site in world.sites.values():
        while site.step():
            pass
    up, _ = lines(world)
    sent = up.held().keys()
    world.hub._room.make(world.hub.coordinator.state, 0)
    assert up.held().keys() == sent and len(sent) == 3


@pytest.mark.usefixtures("at_once")
def test_with_a_history_any_round_can_be_exported_and_only_contributions_go(tmp_path: Path) -> None:
    world = World(tmp_path, run(history=True, keep=1, snapshot_every=2)).begin().to_the_end()
    world.hub.step()
    up, down = lines(world)
    assert not up.held()
    assert OnChannel("prueba", down, tmp_path / "scratch").numbers == [*range(7)]


@pytest.mark.usefixtures("at_once")
def test_rounds_that_were_cleared_away_are_not_offered_for_a_release(tmp_path: Path) -> None:
    world = World(tmp_path, run(keep=1, snapshot_every=2)).begin().to_the_end()
    world.hub.step()
    _, down = lines(world)
    found = OnChannel("prueba", down, tmp_path / "scratch")
    assert found.latest == 6 and 0 not in found.numbers


def test_a_token_that_may_not_delete_is_told_once_and_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(room, "_EVERY", 0.0)

    def refused(self: Line) -> dict[str, int]:
        raise NotAllowed("it lacks the scope store:read; ask for a token that has it")

    monkeypatch.setattr(Line, "held", refused)
    world = World(tmp_path, run()).begin()
    world.until(2)
    told = [one for one in caplog.messages if "stay at the store" in one]
    assert len(told) == 1 and "store:read" in told[0]
    assert len(lines(world)[0].blobs) == 6
