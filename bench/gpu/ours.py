"""Our inner training, a step after the other."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch

from ayni.lm.inner import model, packing, ranks
from ayni.lm.inner.progress import Round
from ayni.lm.inner.settings import Data, Optimiser, Training
from ayni.lm.inner.train import Trainer
from bench.gpu.measured import memory, of
from bench.gpu.shapes import Work


def measure(work: Work, options: dict[str, Any]) -> dict[str, Any]:
    """Times of `steps` steps after `warm` ones.

    Args:
        options: `optimiser`, `micro`, `compile`, `profile` (a folder for two steps' kernels).
    """
    here = ranks.join()
    settings = Training(
        optimiser=Optimiser(name=options.get("optimiser", "adamw"), lr=1e-4),
        data=Data(
            length=work.shape.context,
            batch=work.rows,
            micro_batch=options.get("micro", work.micro),
        ),
        compile=options.get("compile"),
    )
    with here.device:  # random weights are made faster there
        net = model.build(model.config_of(work.shape), seed=0, attention=packing.attention())
    trainer = Trainer(settings, net, work.order(), here)
    began = time.perf_counter()
    warm = options["warm"]
    trainer.round(Round(0, warm, 0))
    warmed = time.perf_counter() - began
    times = []
    for step in range(options["steps"]):
        began = time.perf_counter()
        trainer.round(Round(0, warm + step + 1, 0))
        times.append(time.perf_counter() - began)
    if folder := options.get("profile"):
        _profile(trainer, warm + options["steps"], Path(folder))
    loss = sum(one.nats for one in trainer.progress.losses.values()) / trainer.progress.tokens
    found = of(work, times) | {"warm_seconds": warmed, "loss": loss, "memory": memory(here.device)}
    ranks.leave()
    return found


def _profile(trainer: Trainer, done: int, folder: Path) -> None:
    activities = [torch.profiler.ProfilerActivity.CPU]
    if torch.cuda.is_available():
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=activities) as profile:
        trainer.round(Round(0, done + 2, 0))
    key = "cuda_time_total" if torch.cuda.is_available() else "cpu_time_total"
    text = profile.key_averages().table(
        sort_by=f"self_{key}", row_limit=45, max_name_column_width=90
    )
    (folder / "kernels.txt").write_text(text)
