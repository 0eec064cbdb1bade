"""Recorded runs come out with the same bits: here, on another processor, killed anywhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lm.outer.traces import FOLDER, SCENES, load, outcome, replay

ROOT = Path(__file__).parents[3]
#: What NumPy may be told not to use: the next best processor.
FEATURES = "AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL AVX512_SPR AVX2 FMA3"


@pytest.mark.parametrize("name", SCENES)
def test_a_recorded_run_comes_out_as_it_did(name: str, tmp_path: Path) -> None:
    trace = load(name)
    hub, _ = replay(trace, tmp_path, lambda point: False)
    assert outcome(hub) == trace.outcome


@pytest.mark.parametrize("name", SCENES)
def test_killed_at_every_transition_it_comes_out_the_same(name: str, tmp_path: Path) -> None:
    """Each transition of the run is reached once, and the coordinator dies there."""
    trace = load(name)
    calm, state = replay(trace, tmp_path / "calm", lambda point: False)
    died: set[str] = set()

    def kill(point: str) -> bool:
        new = point not in died
        died.add(point)
        return new

    hub, killed = replay(trace, tmp_path / "killed", kill)
    assert killed == state
    assert list(hub.journal.books()) == list(calm.journal.books())
    assert outcome(hub) == trace.outcome
    assert len(died) > 2 * len(trace.steps)


def test_no_bit_depends_on_what_the_processor_can() -> None:
    """NumPy chooses its loops by the processor: with the best of them switched off, the same."""
    run = subprocess.run(
        [sys.executable, "-m", "tests.lm.outer.traces", "replay"],
        env={
            **os.environ,
            "NPY_DISABLE_CPU_FEATURES": FEATURES,
            "PYTHONPATH": f"{ROOT}:{ROOT}/src",
        },
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    found = dict(line.split(" ", 1) for line in run.stdout.splitlines())
    assert {name: json.loads(text) for name, text in found.items()} == {
        name: load(name).outcome for name in SCENES
    }


def test_the_traces_hold_what_they_are_for() -> None:
    """So that nobody records them anew from runs in which nothing happens."""
    kinds = {name: load(name).outcome["kinds"] for name in SCENES}
    assert kinds["plain"] == {"joined": 3, "merged": 30, "version": 10}
    assert kinds["late"]["refused"] and kinds["late"]["failed"] and kinds["late"]["left"]
    assert kinds["wire"]["refused"] > 5
    assert kinds["hostile"]["refused"] > 10 and kinds["hostile"]["rejected"]
    assert kinds["harm"]["rolled back"] == 3 and kinds["harm"]["judged"] > 5
    assert kinds["steered"]["rolled back"] and kinds["steered"]["set"]
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 300_000
