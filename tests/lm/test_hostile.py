"""What a bad site says over the channel, and what the coordinator makes of it. Nobody trains here."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

from ayni.lm import wire
from ayni.lm.outer.blocks import chunks
from ayni.lm.outer.codec import encode
from ayni.lm.outer.files import FolderStore
from ayni.lm.outer.messages import nonce_of
from ayni.protocol.channels import read_schema
from tests.lm.lines import Up
from tests.lm.world import NAMES, World, run

BAD = "santiago"


class Said:
    """Sites that say what they are told to, and a coordinator."""

    def __init__(self, folder: Path, **rules: Any) -> None:
        self.folder = folder
        self.world = World(folder, run(**{"quorum": 2, **rules}))
        assert self.world.lines is not None
        self.ups = {name: Up(self.world.lines.up, name) for name in NAMES}  # type: ignore[arg-type]
        for up in self.ups.values():
            up.send("joined", {"tokens_per_step": self.world.run.tokens_per_step})

    def vector(self, values: float = 1e-3) -> bytes:
        """A pseudo-gradient as it travels."""
        lane = self.world.hub.coordinator.state.lanes["all"]
        drawn = np.random.default_rng(1).standard_normal(lane.count)
        vector = (values * drawn).astype(np.float32)
        return b"".join(encode(chunks(vector), lane.count, self.world.run.outer.codec))

    def lax(self) -> None:
        """From here on the channel lets through contributions that its schema should not."""
        world = self.world
        count = sum(lane.count for lane in world.hub.coordinator.state.lanes.values())
        schema = wire.up_schema(world.run.outer, count)
        schema["kinds"]["contributed"]["fields"]["blob"]["pattern"] = ".*"
        schema["kinds"]["contributed"]["blob"]["required"] = False
        world.lines.up.rules = read_schema(schema)  # type: ignore[union-attr]

    def bring(self, name: str, data: bytes | None, **changes: Any) -> None:
        """To the head, with the bytes given."""
        lane = self.world.hub.coordinator.state.lanes["all"]
        digest = lane.versions[lane.head].digest
        path = self.folder / "blob"
        path.write_bytes(data or b"")
        body = {
            "fragment": "all",
            "base": lane.head,
            "attempt": 0,
            "digest": digest,
            "nonce": nonce_of("prueba", "all", lane.head, digest, name),
            "blob": hashlib.sha256(data or b"").hexdigest(),
            "size": len(data or b"-"),
            "tokens": 4,
            "steps": 4,
            "core_seconds": 0,
            "gpu_seconds": 0,
        }
        self.ups[name].send("contributed", {**body, **changes}, path if data else None)

    def others_bring(self) -> None:
        for name in NAMES:
            if name != BAD:
                self.bring(name, self.vector())
        for _ in range(2):
            self.world.hub.step()

    def merged(self) -> set[str]:
        return {one["site"] for one in self.world.books("merged")}

    def rejected(self) -> list[str]:
        return [one["reason"] for one in self.world.books("rejected")]


def test_who_names_a_blob_that_he_did_not_send_is_refused(tmp_path: Path) -> None:
    """The update's own address is in every head, and whoever has it has trained nothing."""
    said = Said(tmp_path)
    said.others_bring()
    assert said.world.version == 1
    lane = said.world.hub.coordinator.state.lanes["all"]
    update = lane.versions[1].update
    assert update is not None
    size = said.world.hub.store.path(update).stat().st_size
    said.bring(BAD, b"z", blob=update, size=size)
    said.others_bring()
    assert said.rejected() == ["contributed: the blob that it names did not come with it"]
    assert said.world.version == 2 and BAD not in said.merged()


def test_what_a_hub_lets_through_all_the_same_ends_no_coordinator(tmp_path: Path) -> None:
    """A contribution without its blob, and addresses that are none."""
    said = Said(tmp_path)
    said.lax()
    said.bring(BAD, None, blob="ab" * 32)
    for blob in ("ab" * 16, "no-address"):
        said.bring(BAD, b"hello", blob=blob)
    for _ in range(2):
        said.others_bring()
        said.world.hub.close()
        said.world.coordinate()
    assert said.world.version == 2 and BAD not in said.merged()
    assert set(said.rejected()) == {"contributed: the blob that it names did not come with it"}


def test_the_store_passes_over_what_is_no_address(tmp_path: Path) -> None:
    FolderStore(tmp_path / "blobs").drop(["ab" * 16, "../secret", "cd" * 32])


def test_nobody_says_himself_how_much_he_weighs(tmp_path: Path) -> None:
    """What a step sees is the run's batch; who claims more is not in the run."""
    said = Said(tmp_path)
    said.world.hub.step()
    bad = said.ups[BAD] = Up(said.world.lines.up, BAD)  # type: ignore[union-attr, arg-type]
    tokens = said.world.run.tokens_per_step
    bad.send("joined", {"tokens_per_step": 1 << 40})
    said.bring(BAD, said.vector(), tokens=4 * tokens + 1)
    said.others_bring()
    assert said.rejected() == [
        f"joined: {1 << 40} tokens a step, where the run's batch has {tokens}"
    ]
    assert [one["reason"] for one in said.world.books("refused")] == [
        f"{4 * tokens + 1} tokens are more than its 4 steps can have seen"
    ]
    assert BAD not in said.merged()


def test_huge_values_in_the_first_round_reach_nobody(tmp_path: Path) -> None:
    said = Said(tmp_path)
    said.bring(BAD, said.vector(1e20))
    for _ in range(2):  # there is no grace: the first quorum is merged before it was looked at
        said.others_bring()
    (refused,) = said.world.books("refused")
    assert refused["site"] == BAD and "times the round's" in refused["reason"]
    assert said.world.version == 2 and BAD not in said.merged()
    assert np.abs(np.frombuffer(said.world.weights(), "<f4")).max() < 10


def test_what_is_said_of_versions_that_there_never_were_is_passed_over(tmp_path: Path) -> None:
    """Nor is it booked, which would be without end."""
    said = Said(tmp_path)
    for number in range(20):
        key = {"fragment": "all", "base": 10**9 + number}
        said.ups[BAD].send("failed", {**key, "attempt": 0, "reason": wire.CANNOT})
        said.ups[BAD].send(
            "failed", {**key, "base": 0, "attempt": 16 + number, "reason": wire.CANNOT}
        )
        said.ups[BAD].send("discarded", {**key, "steps": 1, "tokens": 1})
    said.others_bring()
    said.bring(BAD, b"x", base=0, attempt=99)
    said.ups[BAD].send(
        "failed", {"fragment": "all", "base": 1, "attempt": 0, "reason": wire.CANNOT}
    )
    said.ups[BAD].send("discarded", {"fragment": "all", "base": 0, "steps": 1, "tokens": 7})
    said.others_bring()
    assert len(said.world.books("failed")) == 1
    assert [one["tokens"] for one in said.world.books("discarded")] == [7]
    assert len(said.world.hub.status()["alarms"]) == 3


def test_the_task_of_another_site_announces_nothing(tmp_path: Path) -> None:
    world = World(tmp_path, run(quorum=2)).begin("bogota")
    world.hub.step()
    (head,) = world.hub.coordinator.heads()
    end = head.model_copy(update={"status": "done", "inner_steps": 0})
    assert world.lines is not None
    up = Up(world.lines.down, BAD)  # type: ignore[arg-type]
    up.send(wire.HEAD, wire.said_head(end))
    site = world.sites["bogota"]
    site.step()
    assert not site.done and site._incoming.heads == {"all": head}


def test_losses_that_are_said_again_change_nothing(tmp_path: Path) -> None:
    """By a hub that repeats a message to a coordinator that was started anew, or by the site."""
    said = Said(tmp_path)
    body = {"languages": ["es"], "losses": [2.5], "tokens": [4], "seconds": 1.0}
    said.ups["bogota"].send(wire.LOSSES, {"base": 0, **body})
    said.others_bring()
    path = said.world.hub.folder / "losses.jsonl"
    before = path.read_text()
    said.world.hub.close()
    said.world.coordinate()
    up = said.world.lines.up  # type: ignore[union-attr]
    (old,) = (one for one in up.said if one.kind == wire.LOSSES)  # type: ignore[attr-defined]
    up.said.append(old.model_copy(update={"sequence": len(up.said) + 1}))  # type: ignore[attr-defined]
    said.ups["bogota"].send(wire.LOSSES, {"base": 0, **body, "losses": [9.5]})
    said.ups["bogota"].send(wire.LOSSES, {"base": 10**9, **body})
    said.world.hub.step()
    assert path.read_text() == before and len(before.splitlines()) == 1
