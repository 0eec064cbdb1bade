"""The vector that stands for a trainer is one to a real site and a real coordinator."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from bench.outer_exchange.coordinator import configuration, prepare
from bench.outer_exchange.cpu import Processor
from bench.outer_exchange.site import Vector

from ayni.demo.stage import naming
from ayni.lm import wire
from ayni.lm.coordinate import Coordination
from ayni.lm.lines import Lines
from ayni.lm.outer.codec import Codec
from ayni.lm.participant import Participant
from tests.lm.lines import CHANNEL, PROJECT, Down, Line, Up, keys, steering

COUNT = 1 << 16
SITES = ["bogota", "mexico", "santiago"]


def test_three_vectors_are_exchanged_and_all_hold_the_same_weights(tmp_path: Path) -> None:
    run = configuration(Codec.INT4, SITES)
    prepare(run, tmp_path / "run", COUNT)
    schemas: list[dict[str, Any]] = [
        wire.up_schema(run.outer, COUNT), wire.down_schema(COUNT), wire.wishes_schema()
    ]  # fmt: skip
    up, down, wishes = (Line(schema) for schema in schemas)
    check = partial(keys(tmp_path).check, PROJECT, CHANNEL)
    lines = Lines(up, down, wishes, check, steering(run, tmp_path))
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


def test_the_processors_time_is_that_of_the_processes_that_name_the_folder(tmp_path: Path) -> None:
    """By command line or environment, and what they have used stays counted when they end."""
    work = "import time\nwhile time.process_time() < 0.3: pass\ninput()"
    env = {**os.environ, "PLACE": str(tmp_path / "in")}
    with Processor(tmp_path) as processor, subprocess.Popen(
        [sys.executable, "-c", work], env=env, stdin=subprocess.PIPE
    ) as child:  # fmt: skip
        end = time.monotonic() + 60
        while processor.between(0.0, time.time()) <= 0.25:
            assert time.monotonic() < end, "it is not seen at work"
            time.sleep(0.05)
        assert naming(os.fsencode(tmp_path)) == [child.pid]
        assert not naming(os.fsencode(tmp_path / "elsewhere"))
        used = processor.between(0.0, time.time())
        child.communicate(b"\n")
        assert processor.between(0.0, time.time()) >= used > 0.25
