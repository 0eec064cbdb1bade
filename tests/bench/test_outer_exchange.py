"""The vector that stands for a trainer is one to a real site and a real coordinator."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from bench.outer_exchange.coordinator import configuration, prepare
from bench.outer_exchange.site import Vector

from ayni.lm import wire
from ayni.lm.coordinate import Coordination, Lines
from ayni.lm.outer.codec import Codec
from ayni.lm.participant import Participant
from tests.lm.lines import CHANNEL, PROJECT, Down, Line, Up, keys

COUNT = 1 << 16
SITES = ["bogota", "mexico", "santiago"]


def test_three_vectors_are_exchanged_and_all_hold_the_same_weights(tmp_path: Path) -> None:
    run = configuration(Codec.INT4, SITES)
    prepare(run, tmp_path / "run", COUNT)
    schemas: list[dict[str, Any]] = [
        wire.up_schema(run.outer, COUNT), wire.down_schema(COUNT), wire.wishes_schema()
    ]  # fmt: skip
    up, down, wishes = (Line(schema) for schema in schemas)
    lines = Lines(up, down, wishes, partial(keys(tmp_path).check, PROJECT, CHANNEL))
    coordination = Coordination(run, tmp_path / "run", lambda count: lines)
    held: list[str] = []
    sites = []
    for seed, name in enumerate(SITES):
        trainer: Any = Vector(COUNT, seed, lambda: None, lambda: held.append("held"))
        place = tmp_path / name
        sites.append(Participant(run, name, trainer, Up(up, name), Down(down, place / "in"), place))
    end = time.monotonic() + 60
    while not (coordination.done and all(site.done for site in sites)):
        assert time.monotonic() < end, "the exchange does not end"
        coordination.step()
        for site in sites:
            site.step()
    coordination.close()
    assert held == 3 * ["held"]
    assert {site.version for site in sites} == {1}
