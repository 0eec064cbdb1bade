"""The ranks of a site: started together, ended together, and to the run one site like any other."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from ayni.lm import node
from ayni.lm.inner.progress import GO_ON

ROOT = Path(__file__).parents[2]
LISTENS = """
import os, pathlib, signal, sys, time
signal.signal(signal.SIGUSR1, lambda *_: sys.exit(75))
pathlib.Path("rank-" + os.environ["RANK"]).touch()
time.sleep(60)
"""
SITE = """
import json, sys
from pathlib import Path
from ayni.lm.inner import ranks
from ayni.lm.inner.lead import follow
from tests.lm.inner import small
from tests.lm.test_node import alone, told
from tests.lm.world import World, trainer_of

folder, meeting = Path(sys.argv[1]), Path(sys.argv[-1])
here = ranks.join("cpu", meeting=meeting)
assert here.count == 2
if here.first:
    world = World(folder, alone())
    world.site("bogota", seed=7)
    world.to_the_end()
    (folder / "told.json").write_text(json.dumps(told(world)))
    (folder / "weights").write_bytes(world.weights())
    world.sites["bogota"].trainer.leave()
else:
    follow(trainer_of(alone(), "bogota", folder / "bogota", seed=7), small.documents(), lambda: False)
ranks.leave()
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_each_rank_knows_its_place_and_where_to_meet(tmp_path: Path) -> None:
    says = (
        "import os, pathlib, sys; pathlib.Path(os.environ['RANK']).write_text(' '.join("
        "[os.environ['WORLD_SIZE'], os.environ['LOCAL_RANK'], *sys.argv[1:]]))"
    )
    assert node.run([sys.executable, "-c", says], ranks=3) == 0
    said = [(tmp_path / str(rank)).read_text().split() for rank in range(3)]
    assert [one[:3] for one in said] == [["3", str(rank), "--meeting"] for rank in range(3)]
    assert len({one[3] for one in said}) == 1 and Path(said[0][3]).is_dir()


def test_the_ranks_of_several_nodes_are_counted_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"NODEID": "1", "JOB_ID": "7", "STEP_ID": "0"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    says = "import os, pathlib, sys; pathlib.Path(os.environ['RANK']).write_text(sys.argv[-1])"
    assert node.run([sys.executable, "-c", says], ranks=2, nodes=3) == 0
    assert {(tmp_path / rank).read_text() for rank in "23"} == {str(tmp_path / "meeting-7-0")}


def test_one_that_fails_ends_the_others_and_its_code_is_the_task_s() -> None:
    one = "import os, sys, time; time.sleep(60 * int(os.environ['RANK'])); sys.exit(3)"
    assert node.run([sys.executable, "-c", one], ranks=2) == 3


def test_where_another_rank_fails_the_first_may_still_say_so(tmp_path: Path) -> None:
    says = (
        "import os, pathlib, sys, time\n"
        "if os.environ['RANK'] == '1': sys.exit(9)\n"
        "time.sleep(0.5); pathlib.Path('said').touch(); sys.exit(2)"
    )
    assert node.run([sys.executable, "-c", says], ranks=2) in (2, 9)
    assert (tmp_path / "said").exists()


def test_the_warning_reaches_every_rank_and_a_successor_is_asked_for(tmp_path: Path) -> None:
    def warn() -> None:
        while not all((tmp_path / f"rank-{n}").exists() for n in range(2)):
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGUSR1)

    thread = threading.Thread(target=warn)
    thread.start()
    assert node.run([sys.executable, "-c", LISTENS], ranks=2) == GO_ON
    thread.join()


def alone():  # type: ignore[no-untyped-def]
    """A run of one site, that judges."""
    from ayni.lm.outer.codec import Codec
    from tests.lm.world import run

    whole = run(quorum=1, evaluate=True, codec=Codec.INT8)
    return whole.model_copy(update={"sites": whole.sites[:1]})


def told(world):  # type: ignore[no-untyped-def]
    path = world.hub.folder / "losses.jsonl"
    found = [json.loads(line)["losses"] for line in path.read_text().splitlines()]
    return {"losses": found, "evaluated": [one["after"] for one in world.books("evaluated")]}


def test_two_ranks_are_to_the_run_what_one_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They take a snapshot, train, judge and apply updates together; sums are in another order."""
    pytest.importorskip("torch")
    import numpy as np

    from tests.lm.world import World

    monkeypatch.setenv("PYTHONPATH", f"{ROOT}/src:{ROOT}")
    two = tmp_path / "two"
    two.mkdir()
    assert node.run([sys.executable, "-c", SITE, str(two)], ranks=2) == 0
    world = World(tmp_path / "one", alone())
    world.site("bogota", seed=7)
    world.to_the_end()
    ours, theirs = told(world), json.loads((two / "told.json").read_text())
    for one, other in zip(ours["losses"], theirs["losses"], strict=True):
        assert other == pytest.approx(one, rel=1e-3)
    assert theirs["evaluated"] == pytest.approx(ours["evaluated"], rel=1e-3)
    first = np.frombuffer(world.weights(), "<f4")
    second = np.frombuffer((two / "weights").read_bytes(), "<f4")
    assert np.linalg.norm(first - second) < 0.01 * np.linalg.norm(first)
