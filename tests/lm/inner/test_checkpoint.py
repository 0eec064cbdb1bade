"""Training that is killed and goes on."""

from __future__ import annotations

import errno
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

import torch.distributed.checkpoint as dcp

from ayni.errors import UserError
from ayni.lm.inner.progress import GO_ON, Paused, Round
from ayni.lm.inner.settings import Optimiser, Shape
from tests.lm.inner.small import SHAPE, trainer, training
from tests.lm.inner.test_train import equal, snapshot

ROOT = Path(__file__).parents[3]


def after(steps: int) -> Any:
    """Says stop once it was asked so many times."""
    asked = iter(range(10**6))
    return lambda: next(asked) >= steps - 1


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_ten_steps_are_five_and_five_bit_by_bit(tmp_path: Path, name: Any) -> None:
    settings = training(optimiser=Optimiser(name=name, lr=3e-3))
    whole = trainer(settings)
    brought = whole.round(Round(0, 10, 0))
    with pytest.raises(Paused, match="5 of 10"):
        trainer(settings, tmp_path).round(Round(0, 10, 0), stop=after(5))
    second = trainer(settings, tmp_path)
    assert second.resume()
    assert second.progress.done == 5
    again = second.round(Round(0, 10, 0))
    assert equal(snapshot(whole), snapshot(second))
    assert again.losses == brought.losses
    assert again.tokens == brought.tokens


def test_a_killed_trainer_goes_on_from_its_last_checkpoint_bit_by_bit(tmp_path: Path) -> None:
    code = f"""
import os, signal
from pathlib import Path
from ayni.lm.inner.progress import Round
from tests.lm.inner.small import trainer, training
site = trainer(training(checkpoint_every=3), Path({str(tmp_path)!r}))
site.round(Round(0, 10, 0), stop=lambda: site.progress.done == 8 and os.kill(os.getpid(), signal.SIGKILL))
"""
    environment = os.environ | {"PYTHONPATH": f"{ROOT}/src:{ROOT}", "OMP_NUM_THREADS": "1"}
    dead = subprocess.run([sys.executable, "-c", code], env=environment, cwd=ROOT)
    assert dead.returncode == -signal.SIGKILL
    second = trainer(training(checkpoint_every=3), tmp_path)
    assert second.resume()
    assert second.progress.done == 6
    second.round(Round(0, 10, 0))
    whole = trainer()
    whole.round(Round(0, 10, 0))
    assert equal(snapshot(whole), snapshot(second))


def test_a_version_taken_after_a_checkpoint_is_in_the_next_one(tmp_path: Path) -> None:
    site = trainer(training(), tmp_path)
    site.round(Round(0, 2, 0))
    site.apply([(n, a / 2) for n, a in site.pseudo_gradient()], 1)
    site.save()
    successor = trainer(training(), tmp_path)
    assert successor.resume()
    assert successor.progress.version == 1
    assert successor.digest() == site.digest()


def test_only_the_last_are_kept(tmp_path: Path) -> None:
    site = trainer(training(checkpoint_every=1, keep=2), tmp_path)
    site.round(Round(0, 4, 0))
    assert names(tmp_path) == ["checkpoint-00000003", "checkpoint-00000004"]


def test_with_nothing_to_go_on_from_a_run_begins(tmp_path: Path) -> None:
    site = trainer(training(), tmp_path)
    assert not site.resume()
    assert site.progress.steps == 0


@pytest.mark.parametrize("piece", ["__0_0.distcp", ".metadata", "progress.json", "manifest.json"])
@pytest.mark.parametrize("how", ["missing", "torn", "altered"])
def test_a_torn_piece_falls_back_to_the_one_before_and_says_so(
    tmp_path: Path, piece: str, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    trainer(training(checkpoint_every=2), tmp_path).round(Round(0, 4, 0))
    path = tmp_path / "checkpoint-00000002" / piece
    whole = path.read_bytes()
    if how == "missing":
        path.unlink()
    elif how == "torn":
        path.write_bytes(whole[: len(whole) // 2])
    else:
        middle = len(whole) // 2
        path.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
    site = trainer(training(), tmp_path)
    with caplog.at_level(logging.WARNING):
        assert site.resume()
    assert site.progress.done == 2
    assert "checkpoint-00000002 is not whole" in caplog.text


def test_what_was_never_finished_is_not_read_and_goes_away(tmp_path: Path) -> None:
    trainer(training(checkpoint_every=2), tmp_path).round(Round(0, 2, 0))
    (tmp_path / "checkpoint-00000002.part").mkdir()
    site = trainer(training(checkpoint_every=2), tmp_path)
    assert site.resume()
    assert names(tmp_path) == ["checkpoint-00000001"]


def test_a_checkpoint_of_another_shape_is_refused_by_name(tmp_path: Path) -> None:
    trainer(training(), tmp_path).save()
    wider = Shape(**{**SHAPE.model_dump(), "intermediate_size": 96})
    with pytest.raises(UserError, match=r"mlp\.down_proj.* \[32, 64\] there and .* \[32, 96\]"):
        trainer(training(), tmp_path, shape=wider).resume()


def test_a_checkpoint_of_another_optimiser_is_refused_by_name(tmp_path: Path) -> None:
    trainer(training(), tmp_path).save()
    muon = training(optimiser=Optimiser(name="muon"))
    with pytest.raises(UserError, match=r"exp_avg.*missing in this run.*another model or optim"):
        trainer(muon, tmp_path).resume()


def test_a_full_disk_is_told_and_leaves_the_earlier_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = trainer(training(), tmp_path)
    site.round(Round(0, 2, 0))
    site.save()

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(dcp, "save", full)
    with pytest.raises(UserError, match=r"No space left on device.*make room there"):
        site.save()
    monkeypatch.undo()
    assert trainer(training(), tmp_path).resume()


def test_a_checkpoint_in_the_background_is_the_state_when_it_was_asked_for(tmp_path: Path) -> None:
    site = trainer(training(), tmp_path)
    site.checkpoints._background = True
    site.round(Round(0, 3, 0))
    site.save(wait=False)
    then = snapshot(site)
    site.round(Round(0, 6, 0))
    site.checkpoints.finish()
    successor = trainer(training(), tmp_path)
    assert successor.resume()
    assert successor.progress.done == 3
    assert equal(snapshot(successor), then)


def test_a_failure_in_the_background_is_raised_at_the_next_save(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ayni.lm.inner import checkpoint

    site = trainer(training(), tmp_path)
    site.checkpoints._background = True

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint, "_write", full)
    site.save(wait=False)
    with pytest.raises(UserError, match="No space left on device"):
        site.save()


def test_usr1_ends_in_a_checkpoint_and_the_exit_code_for_a_successor(tmp_path: Path) -> None:
    code = f"""
import os, signal
from pathlib import Path
from ayni.lm.inner.progress import Round
from ayni.lm.inner.stop import stopping
from tests.lm.inner.small import trainer, training
site = trainer(training(), Path({str(tmp_path)!r}))
with stopping() as stop:
    site.round(Round(0, 10**6, 0),
               stop=lambda: (site.progress.done == 4 and os.kill(os.getpid(), signal.SIGUSR1), stop())[1])
"""
    environment = os.environ | {"PYTHONPATH": f"{ROOT}/src:{ROOT}", "OMP_NUM_THREADS": "1"}
    ended = subprocess.run([sys.executable, "-c", code], env=environment, cwd=ROOT)
    assert ended.returncode == GO_ON
    successor = trainer(training(), tmp_path)
    assert successor.resume()
    assert successor.progress.done == 4
