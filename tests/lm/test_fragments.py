"""A training run whose model is exchanged in fragments, with and without training on meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from ayni.lm.inner.progress import Paused
from ayni.lm.outer.messages import Pause, Resume, RollBack
from ayni.lm.participant import Participant
from ayni.lm.site import work
from ayni.lm.watching.record import read_reports
from tests.lm.world import NAMES, World, run, settled

PARTS = ("part-0", "part-1", "part-2")


def run_of(overlap: int, **rules: Any) -> Any:
    return run(layers=3, fragments=3, overlap=overlap, **rules)


def all_hold_the_same(world: World) -> bool:
    """Every site, in every fragment, what the coordinator has."""
    heads = {head.fragment: head.digest for head in world.hub.coordinator.heads()}
    return set(heads) == set(PARTS) and all(
        site.trainer.digest(part) == heads[part] for site in world.sites.values() for part in PARTS
    )


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("plain"), run_of(0)).begin().to_the_end()


@pytest.fixture(scope="module")
def overlapped(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("overlapped"), run_of(2)).begin().to_the_end()


@pytest.fixture(params=["plain", "overlapped"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    yield request.getfixturevalue(request.param)


def test_three_fragments_are_exchanged_in_turn_and_end_the_same_everywhere(world: World) -> None:
    assert world.hub.done and all_hold_the_same(world)
    assert not any(world.books(what) for what in ("alarm", "refused", "discarded"))
    steps = {
        part: [one["step"] for one in world.books("version") if one["fragment"] == part]
        for part in PARTS
    }
    assert steps == {
        "part-0": [1, 5, 9, 13, 17, 21, 24],
        "part-1": [2, 6, 10, 14, 18, 22, 24],
        "part-2": [4, 8, 12, 16, 20, 24],
    }


def test_each_token_is_counted_once_however_many_fragments_there_are(world: World) -> None:
    trained = {name: sum(r.trained for r in world.hub._pulse.reports[name]) for name in NAMES}
    for one in world.hub.status()["sites"]:
        assert abs(one["tokens"] - trained[one["site"]]) < 0.01 * trained[one["site"]] + 20
        assert one["rounds"] == 6


def test_the_loss_falls_as_it_does_without_fragments(plain: World, overlapped: World) -> None:
    for world in (plain, overlapped):
        seen = read_reports(world.hub.folder)
        first, last = ([one.losses for one in seen if one.base == base] for base in (0, 6))
        assert mean(last) < 0.95 * mean(first)


def mean(found: list[dict[str, float]]) -> float:
    losses = [loss for one in found for loss in one.values()]
    return sum(losses) / len(losses)


def lived(site: Participant, steps: int) -> None:
    """Some steps, and all that was begun beside them: what is killed amid that is another test's."""
    for _ in range(steps):
        site.step()
        settled(site)


def test_killed_and_started_again_at_every_turn_it_gives_the_same_weights(
    overlapped: World, tmp_path: Path
) -> None:
    """Both sides know nothing but their folders and the channels. Lives are of one to five steps: one that
    always ended before it merged and trained would come nowhere.
    """
    world = World(tmp_path, run_of(2, checkpoint_every=1)).begin()
    for turn in range(80):
        world.hub.step()
        world.hub.close()
        world.coordinate()
        for name in NAMES:
            lived(world.sites[name], 1 + turn % 5)
            lived(world.site(name), 1 + (turn + 2) % 5)
        if world.hub.done:
            break
    assert world.weights() == overlapped.weights()
    assert not any(world.books(what) for what in ("alarm", "refused", "discarded"))


def until(world: World, version: int) -> None:
    """To a version in all fragments, with every site trained as far as it can."""
    while world.version < version:
        world.turn()


def stopped(world: World, name: str, after: int) -> None:
    """A site that is told to stop after so many steps; it stops, with a checkpoint."""
    left = [False] * (after - 1) + [True] * 9
    world.hub.step()
    with pytest.raises(Paused):
        work(world.site(name, stop=lambda: left.pop(0)), lambda: False)


def test_what_was_out_when_a_site_stopped_is_brought_by_its_successor(
    overlapped: World, tmp_path: Path
) -> None:
    """It stops with the first fragment out, and a step trained since."""
    world = World(tmp_path, run_of(2)).begin("bogota", "cdmx")
    stopped(world, "santiago", 2)
    out = world.sites["santiago"].trainer.progress.parts["part-0"].out
    assert out is not None and out.at == 1
    world.site("santiago")
    world.to_the_end()
    assert world.weights() == overlapped.weights()


def test_what_was_out_and_is_gone_is_counted_as_discarded_and_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before what it had taken was encoded, with a checkpoint of what it trained since."""
    world = World(tmp_path, run_of(2, quorum=2)).begin("bogota", "cdmx")
    with monkeypatch.context() as patch:
        patch.setattr("ayni.lm.outgoing.Outgoing.find", lambda *_: None)
        patch.setattr("ayni.lm.beside.Beside.do", lambda *_: None)
        stopped(world, "santiago", 2)
    world.site("santiago")
    world.to_the_end()
    (lost, *others) = world.books("discarded")
    assert (lost["site"], lost["fragment"], lost["steps"], others) == ("santiago", "part-0", 1, [])
    assert all_hold_the_same(world) and not world.books("alarm")


def test_people_pause_resume_and_roll_back_all_fragments(tmp_path: Path) -> None:
    world = World(tmp_path, run_of(2)).begin()
    until(world, 2)
    world.wish(Pause())
    for _ in range(3):
        world.turn()
    held = world.version
    world.turn()
    assert (world.version, world.hub.status()["status"]) == (held, "paused")
    world.wish(RollBack(order="back", to=1))
    world.wish(Resume())
    world.to_the_end()
    assert {one["fragment"] for one in world.books("rolled back")} == set(PARTS)
    assert all_hold_the_same(world)
    assert {world.hub.coordinator.state.lanes[part].versions[h.version].step
            for part, h in zip(PARTS, world.hub.coordinator.heads(), strict=True)} == {24}  # fmt: skip


def test_who_comes_back_late_takes_what_there_is_and_goes_on_with_the_others(
    tmp_path: Path,
) -> None:
    """A site is away for four rounds of each fragment."""
    world = World(tmp_path, run_of(2, quorum=2)).begin()
    until(world, 1)
    away = world.sites.pop("cdmx")
    until(world, 4)
    world.sites["cdmx"] = away
    world.to_the_end()
    assert all_hold_the_same(world)
    brought = world.books("merged")
    assert {one["site"] for one in brought if int(one["version"]) > 5} == set(NAMES)
    assert {one["site"] for one in world.books("discarded")} <= {"cdmx"}


def test_a_version_of_all_fragments_is_exported(overlapped: World, tmp_path: Path) -> None:
    from ayni.lm.release.held import InFolder, weights

    held = InFolder(overlapped.hub.folder)
    site = next(iter(overlapped.sites.values()))
    shapes = {name: tuple(p.shape) for name, p in site.trainer.parameters.items()}
    number = held.latest
    assert number == 6  # the last that all have
    found = dict(weights(held, number, shapes, tmp_path))
    assert {name: array.shape for name, array in found.items()} == shapes
