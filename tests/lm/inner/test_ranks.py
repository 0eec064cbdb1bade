"""Several ranks of one site: processes of their own, with gloo."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from ayni.errors import UserError
from ayni.lm.inner.progress import GO_ON, Round
from ayni.lm.inner.ranks import Ranks
from ayni.lm.inner.settings import Optimiser
from tests.lm.inner.small import documents, trainer, training

ROOT = Path(__file__).parents[3]
WORKER = """
import json, os, signal, sys
from pathlib import Path
import numpy as np
from ayni.lm.inner import ranks
from ayni.lm.inner.progress import Round
from ayni.lm.inner.settings import Optimiser
from ayni.lm.inner.stop import stopping
from tests.lm.inner.small import documents, trainer, training

given = json.loads(sys.argv[1])
settings = training(optimiser=Optimiser(name=given["optimiser"], lr=3e-3))
site = trainer(settings, Path(given["folder"]), meeting=given["meeting"] and Path(given["meeting"]))
assert site.ranks.count == 2
site.resume()
with stopping() as stop:
    def told():
        if given["signal_at"] == site.progress.done and site.ranks.rank == 1:
            os.kill(os.getpid(), signal.SIGUSR1)  # one rank alone is told
        return stop()
    brought = site.round(Round(0, 6, 0), stop=told)
gradient = dict(site.pseudo_gradient())
digest = site.apply([(n, a / 2) for n, a in gradient.items()], 1)
heldout = site.evaluate(documents())
if site.ranks.first:
    np.savez(given["out"], **gradient)
    losses = {n: loss.nats for n, loss in brought.losses.items()}
    print(json.dumps({"tokens": brought.tokens, "losses": losses, "digest": digest,
                      "heldout": {n: [loss.nats, loss.tokens] for n, loss in heldout.items()}}))
site.checkpoints.finish()
ranks.leave()
"""


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def start(given: dict[str, Any]) -> list[subprocess.CompletedProcess[str]]:
    """Two ranks, as torchrun starts them, or with a meeting as srun does."""
    shared = {"PYTHONPATH": f"{ROOT}/src:{ROOT}", "OMP_NUM_THREADS": "1"}
    names = ("SLURM_PROCID", "SLURM_LOCALID")
    if given["meeting"] is None:
        shared |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": "2"}
        names = ("RANK", "LOCAL_RANK")
    else:
        shared["SLURM_NTASKS"] = "2"
    running = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, json.dumps(given)],
            env=os.environ | shared | dict.fromkeys(names, str(rank)),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        for rank in range(2)
    ]
    ended = []
    for one in running:
        out, error = one.communicate(timeout=300)
        ended.append(subprocess.CompletedProcess(one.args, one.returncode, out, error))
    return ended


def run(
    optimiser: str, folder: Path, *, signal_at: int | None = None, meeting: Path | None = None
) -> Any:
    out = folder / "gradient.npz"
    given = {"optimiser": optimiser, "folder": str(folder / "kept"), "out": str(out)}
    given["meeting"] = meeting and str(meeting)
    ended = start(given | {"signal_at": signal_at})
    wanted = 0 if signal_at is None else GO_ON
    assert [one.returncode for one in ended] == [wanted, wanted], ended[0].stderr[-2000:]
    if signal_at is not None:
        return None
    return json.loads(ended[0].stdout.splitlines()[-1]), dict(np.load(out))


def alone(optimiser: Any) -> Any:
    site = trainer(training(optimiser=Optimiser(name=optimiser, lr=3e-3)))
    return site, site.round(Round(0, 6, 0))


def distance(one: dict[str, Any], two: dict[str, Any]) -> float:
    """How far apart two pseudo-gradients are, relative to the first one's length."""
    apart = sum(float(((one[n] - two[n]) ** 2).sum()) for n in one)
    return (apart / sum(float((one[n] ** 2).sum()) for n in one)) ** 0.5


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where two ranks, of which one was told to stop, left their checkpoint after three steps."""
    folder = tmp_path_factory.mktemp("stopped")
    run("adamw", folder, signal_at=3)
    return folder


def test_two_ranks_that_were_stopped_go_on_to_what_one_alone_brings(
    stopped: Path, tmp_path: Path
) -> None:
    shutil.copytree(stopped / "kept", tmp_path / "kept")
    told, gradient = run("adamw", tmp_path)
    site, brought = alone("adamw")
    assert told["tokens"] == brought.tokens
    for language, loss in brought.losses.items():
        assert told["losses"][language] == pytest.approx(loss.nats, rel=1e-4)
    assert distance(dict(site.pseudo_gradient()), gradient) < 0.01


def test_ranks_and_one_process_make_and_judge_the_same_weights_of_the_same_update(
    tmp_path: Path,
) -> None:
    (tmp_path / "meeting").mkdir()
    told, gradient = run("muon", tmp_path, meeting=tmp_path / "meeting")
    site, _ = alone("muon")
    # Newton-Schulz runs in bfloat16: the sums' order shows
    assert distance(dict(site.pseudo_gradient()), gradient) < 0.05
    assert site.apply([(n, a / 2) for n, a in gradient.items()], 1) == told["digest"]
    for language, loss in site.evaluate(documents()).items():
        nats, tokens = told["heldout"][language]
        assert tokens == loss.tokens
        assert nats == pytest.approx(loss.nats, rel=1e-5)


def test_a_checkpoint_of_two_ranks_is_continued_by_one(stopped: Path, tmp_path: Path) -> None:
    shutil.copytree(stopped / "kept", tmp_path / "kept")
    one = trainer(training(optimiser=Optimiser(name="adamw", lr=3e-3)), tmp_path / "kept")
    assert one.resume()
    assert one.progress.done == 3
    one.round(Round(0, 6, 0))
    site, _ = alone("adamw")
    assert distance(dict(site.pseudo_gradient()), dict(one.pseudo_gradient())) < 0.01


def test_a_batch_that_does_not_divide_is_refused() -> None:
    with pytest.raises(UserError, match=r"data\.batch = 4 rows cannot be shared by 3 ranks"):
        Ranks(0, 3, torch.device("cpu")).share(4)
