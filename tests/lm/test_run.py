"""A training run over channels: three sites and a coordinator in one process."""

from __future__ import annotations

import errno
import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

from ayni.errors import NoRoom, UserError
from ayni.lm import inbox, participant, wire
from ayni.lm.coordinate import Coordination
from ayni.lm.inner import checkpoint
from ayni.lm.inner.progress import Paused
from ayni.lm.outer import perform
from ayni.lm.outer.codec import Codec, decode
from ayni.lm.outer.files import FolderWriter
from ayni.lm.outer.messages import Pause, Readmit, Resume, RollBack
from ayni.lm.outer.schedule import Phase, Schedule
from ayni.lm.parameters import chunks
from ayni.lm.participant import Suspended
from ayni.lm.site import work
from tests.lm.lines import Line, Up
from tests.lm.world import NAMES, World, run


def losses(path: Path) -> list[float]:
    return [
        float(np.mean(list(json.loads(line)["losses"].values())))
        for line in path.read_text().splitlines()
    ]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("undisturbed"), run()).begin().to_the_end()


def test_three_sites_train_one_model_and_the_losses_fall(undisturbed: World) -> None:
    world = undisturbed
    assert world.version == 6 and world.hub.done
    found = losses(world.hub.folder / "losses.jsonl")
    assert len(found) == 18
    assert sum(found[-3:]) < 0.9 * sum(found[:3])
    assert {site.trainer.digest() for site in world.sites.values()} == {
        world.hub.coordinator.heads()[0].digest
    }
    seen = world.hub.status()
    assert {one["rounds"] for one in seen["sites"]} == {6}
    assert set(seen["losses"]) == {"es", "quy"}
    assert seen["tokens_per_second"] > 0 and 0 < seen["utilisation"] <= 1
    assert seen["bytes"]["down"] == sum(map(len, world.lines.down.blobs.values()))  # type: ignore[union-attr]


def test_who_begins_with_the_same_weights_fetches_updates_only(undisturbed: World) -> None:
    for site in undisturbed.sites.values():
        assert site._incoming._down.fetched == 6


def test_killed_and_started_again_at_every_turn_it_gives_the_same_weights(
    undisturbed: World, tmp_path: Path
) -> None:
    """Both sides know nothing but their folders and the channels."""
    world = World(tmp_path, run()).begin()
    for _ in range(50):
        world.hub.step()
        world.hub.close()
        world.coordinate()
        for name in NAMES:
            world.sites[name].step()
            world.site(name).step()
        if world.hub.done:
            break
    assert world.weights() == undisturbed.weights()
    assert not world.books("alarm") and not world.books("refused")


def test_a_coordinator_killed_before_it_told_the_sites_tells_them_after(
    undisturbed: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path, run()).begin()
    world.until(2)

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Coordination, "_tell", killed)
        for site in world.sites.values():
            while site.step():
                pass
        with pytest.raises(KeyboardInterrupt):
            world.hub.step()
    world.hub.close()
    world.coordinate()
    world.to_the_end()
    assert world.weights() == undisturbed.weights()


def test_sites_that_wait_fetch_an_update_while_the_weights_after_it_are_made(
    undisturbed: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path, run()).begin()
    world.until(2)
    downs = [site._incoming._down for site in world.sites.values()]
    before, whole = [len(down.asked) for down in downs], perform.apply_update

    def meanwhile(*given: Any) -> Any:
        (coming,) = world.hub._coming.values()
        coming.result(timeout=60)
        for site in world.sites.values():
            assert not site.step()
        return whole(*given)

    for site in world.sites.values():
        while site.step():
            pass
    monkeypatch.setattr(perform, "apply_update", meanwhile)
    world.hub.step()
    assert [len(down.asked) for down in downs] == [asked + 1 for asked in before]
    world.to_the_end()
    assert world.weights() == undisturbed.weights()


def test_a_site_told_to_stop_goes_on_in_its_successor(undisturbed: World, tmp_path: Path) -> None:
    world = World(tmp_path, run()).begin("bogota", "cdmx")
    told = [False] * 2 + [True] * 9
    site = world.site("santiago", stop=lambda: told.pop(0))
    world.hub.step()
    with pytest.raises(Paused, match="3 of 4"):
        work(site, lambda: False)
    world.site("santiago")
    world.to_the_end()
    assert world.weights() == undisturbed.weights()


def test_a_late_site_is_counted(tmp_path: Path) -> None:
    world = World(tmp_path, run(quorum=2)).begin()
    world.until(1)
    slow = world.site("santiago", stop=lambda: True)
    with pytest.raises(Paused, match="1 of 4"):
        work(slow, lambda: False)
    world.turn("bogota", "cdmx")
    assert (slow.version, world.version) == (1, 2)
    world.site("santiago")
    world.to_the_end()
    late = [one for one in world.books("merged") if one["staleness"]]
    its = [one for one in late if one["site"] == "santiago"]
    assert 1 in {one["base"] for one in its}
    (seen,) = (one for one in world.hub.status()["sites"] if one["site"] == "santiago")
    assert (seen["late"], seen["refused"]) == (len(its), 0)


def test_what_is_alarming_is_written_down_once_whoever_is_killed(tmp_path: Path) -> None:
    world = World(tmp_path, run()).begin()
    world.until(3)
    world.wish(RollBack(order="one", to=1))
    world.to_the_end()
    told = world.hub.status()["alarms"]
    assert [one["what"] for one in told] == ["rolled back"]
    world.hub.close()
    assert world.coordinate().status()["alarms"] == told
    assert len((tmp_path / "run" / "alarms.jsonl").read_text().splitlines()) == 1


def test_a_newcomer_with_other_weights_takes_the_snapshot(tmp_path: Path) -> None:
    world = World(tmp_path, run(quorum=2)).begin("bogota", "cdmx")
    world.until(4)
    world.site("santiago", seed=7)
    world.to_the_end()
    assert world.sites["santiago"].trainer.digest() == world.hub.coordinator.heads()[0].digest
    assert any(one["site"] == "santiago" for one in world.books("merged"))


def test_a_run_begun_anew_is_not_mistaken_for_the_one_before(tmp_path: Path) -> None:
    """The volumes still hold what was sent then."""
    world = World(tmp_path, run()).begin()
    world.until(3)
    world.hub.close()
    shutil.rmtree(tmp_path / "run")
    again = World(tmp_path, world.run).begin().to_the_end()
    assert {one["rounds"] for one in again.hub.status()["sites"]} == {6}


def test_what_is_not_finite_is_not_sent(tmp_path: Path) -> None:
    world = World(tmp_path, run(quorum=2)).begin()
    world.hub.step()
    site = world.sites["santiago"]
    next(iter(site.trainer.parameters.values())).data.fill_(math.nan)
    with pytest.raises(UserError, match="nothing of this round was sent"):
        site.step()
    del world.sites["santiago"]
    world.to_the_end()
    (failed,) = world.books("failed")
    assert (failed["site"], failed["reason"]) == ("santiago", wire.NOT_FINITE)
    assert {one["site"] for one in world.books("merged")} == {"bogota", "cdmx"}


def test_who_is_no_site_of_the_run_is_not_heard(tmp_path: Path) -> None:
    world = World(tmp_path, run(quorum=2)).begin("bogota", "cdmx")
    assert world.lines is not None
    Up(world.lines.up, "elsewhere").send("joined", {"tokens_per_step": 1})  # type: ignore[arg-type]
    world.lines.up.send("joined", {"tokens_per_step": 1})
    world.turn()
    reasons = [one["reason"] for one in world.books("rejected")]
    assert reasons == ["it is no task of a site of this run"] * 2


def offered(tmp_path: Path) -> tuple[World, Line]:
    """A run of which each site has sent its first contribution, and the channel that they are on."""
    world = World(tmp_path, run(quorum=2)).begin()
    world.hub.step()
    for site in world.sites.values():
        while site.step():
            pass
    assert world.lines is not None and isinstance(world.lines.up, Line)
    return world, world.lines.up


def contributed(up: Line) -> list[int]:
    """The numbers of the contributions on a channel."""
    return [one.sequence for one in up.said if one.kind == "contributed"]


def test_a_contribution_whose_blob_never_comes_is_refused_and_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox, "_PAUSE", 0.0)
    monkeypatch.setattr(inbox, "_TRIES", 2)
    world, up = offered(tmp_path)
    up.lost.add(contributed(up)[-1])
    world.to_the_end()
    (refused,) = world.books("refused")
    assert refused["site"] == "santiago" and "there is no blob" in refused["reason"]


def test_people_pause_resume_and_roll_back(tmp_path: Path) -> None:
    world = World(tmp_path, run()).begin()
    world.until(2)
    world.wish(Pause())
    for _ in range(3):
        world.turn()
    assert (world.version, world.hub.status()["status"]) == (2, "paused")
    world.wish(RollBack(order="back", to=1))
    world.wish(Resume())
    world.to_the_end()
    assert len(world.books("rolled back")) == 1
    assert {site.trainer.digest() for site in world.sites.values()} == {
        world.hub.coordinator.heads()[0].digest
    }


def test_sites_judge_a_version_by_what_is_held_out(undisturbed: World, tmp_path: Path) -> None:
    world = World(tmp_path, run(evaluate=True)).begin().to_the_end()
    judged = world.books("judged")
    assert [(one["version"], one["verdict"]) for one in judged] == [
        (version, "no harm") for version in range(1, 7)
    ]
    assert world.weights() == undisturbed.weights()
    assert {one["site"] for one in world.books("evaluated")} == set(NAMES)
    assert all(one["after"] < 1.05 * one["before"] for one in world.books("evaluated"))


def test_a_site_that_harms_is_found_by_the_others_and_suspended_until_readmitted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it brings is turned round and nine times as long."""
    long = Schedule(steps=40, phases=(Phase(from_step=0, inner_steps=4),))
    world = World(tmp_path, run(evaluate=True, quorum=2, schedule=long)).begin()
    bad = world.sites["santiago"]
    honest = bad.trainer.pseudo_gradient
    with monkeypatch.context() as patch:
        patch.setattr(bad.trainer, "pseudo_gradient", lambda _: ((n, -9 * a) for n, a in honest()))
        for _ in range(30):
            world.turn()
            if world.hub.coordinator.heads()[0].suspended:
                break
    assert [site["site"] for site in world.hub.status()["sites"] if "suspended" in site["why"]] == [
        "santiago"
    ]
    assert any("santiago is suspended" in str(one["text"]) for one in world.books("alarm"))
    found = world.version
    world.until(found + 2)
    merged = [one for one in world.books("merged") if int(one["version"]) > found]
    assert {one["site"] for one in merged} == {"bogota", "cdmx"}
    monkeypatch.setattr(participant, "_SUSPENDED", -1.0)
    with pytest.raises(Suspended, match=r"ayni lm readmit run\.toml santiago"):
        while bad.step():
            pass
    world.wish(Readmit(site="santiago", order="one"))
    back = world.version
    world.to_the_end()
    again = {one["site"] for one in world.books("merged") if int(one["version"]) > back}
    assert again == set(NAMES)
    measured = losses(world.hub.folder / "losses.jsonl")
    assert sum(measured[-3:]) < 0.95 * sum(measured[:3])


def test_what_was_damaged_on_the_way_is_not_taken_and_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, up = offered(tmp_path)
    last = contributed(up)[-1]
    up.blobs[last] = up.blobs[last][:-7]
    site = world.sites["bogota"]
    whole, damaged = site._incoming._down.fetch, []

    def fetch(message: Any, timeout: float | None = None) -> Path:
        path = whole(message, timeout)
        if not damaged:
            path.write_bytes(path.read_bytes()[:-7])
            damaged.append(path)
        return path

    monkeypatch.setattr(site._incoming._down, "fetch", fetch)
    world.to_the_end()
    (refused,) = world.books("refused")
    assert refused["site"] == "santiago"
    assert damaged and site.trainer.digest() == world.hub.coordinator.heads()[0].digest


def full(*_: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_at_a_site_is_told_and_nothing_trained_is_lost(
    undisturbed: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When it writes a checkpoint; a round later, when it writes what it brings."""
    world = World(tmp_path, run()).begin()
    for version, (where, what) in enumerate(((checkpoint, "_write"), (FolderWriter, "write")), 1):
        world.until(version)
        with monkeypatch.context() as patch:
            patch.setattr(where, what, full)
            with pytest.raises(UserError, match="make room"):
                while world.sites["santiago"].step():
                    pass
        world.turn("bogota", "cdmx")
        failed = world.books("failed")[-1]
        assert (failed["site"], failed["reason"]) == ("santiago", wire.NO_ROOM)
        (seen,) = (one for one in world.hub.status()["sites"] if one["site"] == "santiago")
        assert seen["why"] == f"it cannot: {wire.NO_ROOM}"
        world.site("santiago")
    world.to_the_end()
    assert len(world.books("failed")) == 2
    assert world.weights() == undisturbed.weights()


def test_a_full_disk_at_the_coordinator_holds_the_run_and_loses_nothing(
    undisturbed: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path, run()).begin()
    world.until(1)
    for site in world.sites.values():
        while site.step():
            pass
    with monkeypatch.context() as patch:
        patch.setattr(FolderWriter, "write", full)
        for _ in range(2):
            with pytest.raises(NoRoom, match="make room there"):
                world.hub.step()
    world.to_the_end()
    assert world.weights() == undisturbed.weights()


def test_versions_are_compared_with_what_they_would_be_without_each_site(
    undisturbed: World, tmp_path: Path
) -> None:
    world = World(tmp_path, run(leave_one_out=3)).begin().to_the_end()
    compared = world.books("compared")
    assert {(one["version"], one["without"], one["site"]) for one in compared} == {
        (version, without, site)
        for version in (3, 6)
        for without in NAMES
        for site in NAMES
        if site != without
    }
    for version in (3, 6):
        (loss,) = {one["loss"] for one in compared if one["version"] == version}
        assert all(one["other"] != loss for one in compared if one["version"] == version)
    assert world.weights() == undisturbed.weights(), "to compare changes nothing"


def test_what_the_sites_compare_with_is_the_merge_without_one(tmp_path: Path) -> None:
    """Of the first merge: the others' mean instead of everybody's, to what 8 bits keep of it."""
    world = World(tmp_path, run(leave_one_out=1, codec=Codec.INT8)).begin()
    gradients = {}
    for name, site in world.sites.items():
        world.hub.step()
        while site.step():
            pass
        gradients[name] = {n: a.copy() for n, a in site.trainer.pseudo_gradient()}
    world.hub.step()
    assert world.version == 1
    (head,) = world.hub.coordinator.heads()
    gifts = {one["site"]: float(one["weight"]) for one in world.books("merged")}
    assert [one.site for one in head.variants] == list(NAMES)
    for one in head.variants:
        with world.hub.store.open(one.change) as blob:
            change = np.concatenate(list(decode(blob, head.count)))
        rest = {name: weight for name, weight in gifts.items() if name != one.site}

        def flat(weights: dict[str, float]) -> Any:
            total = sum(weights.values())
            return sum(
                np.concatenate(list(chunks(gradients[n].items()))) * (w / total)
                for n, w in weights.items()
            )

        wanted = flat(rest) - flat(gifts)
        apart = np.linalg.norm(change - wanted) / np.linalg.norm(wanted)
        assert apart < 0.05
