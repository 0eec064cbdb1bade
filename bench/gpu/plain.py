"""transformers' own Trainer on the same model and tokens, as one sets it up by its documentation."""

from __future__ import annotations

import tempfile
import time
from itertools import pairwise
from typing import Any

import torch
from transformers import Trainer, TrainerCallback, TrainingArguments

from ayni.lm.inner import model
from bench.gpu.measured import memory, of
from bench.gpu.shapes import Work


class Rows(torch.utils.data.Dataset[Any]):
    """The same rows as ours reads. `masked`: with positions that begin anew with every document."""

    def __init__(self, work: Work, masked: bool) -> None:
        self._order = work.order()
        self._masked = masked

    def __len__(self) -> int:
        return 1_000_000

    def __getitem__(self, index: int) -> dict[str, Any]:
        row = self._order.row(index % 4096)
        tokens = torch.from_numpy(row.tokens[:-1].copy())
        given = {"input_ids": tokens, "labels": tokens}
        if self._masked:
            segments = torch.from_numpy(row.segments[:-1].copy())
            first = torch.searchsorted(segments, segments)
            given["position_ids"] = torch.arange(len(segments)) - first
        return given


class Times(TrainerCallback):
    """When each step began and ended, with the GPU waited for."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_step_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.ends.append(time.perf_counter())


def measure(work: Work, options: dict[str, Any]) -> dict[str, Any]:
    """Times of `steps` steps after `warm` ones.

    Args:
        options: `micro`, `masked`, `compile`, `checkpointing`.
    """
    gpu = torch.cuda.is_available()
    micro = options.get("micro", work.plain_micro)
    with torch.device("cuda" if gpu else "cpu"):
        net = model.build(model.config_of(work.shape), seed=0)
    times = Times()
    with tempfile.TemporaryDirectory(prefix="ayni-bench-") as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=micro,
            gradient_accumulation_steps=work.rows // micro,
            max_steps=options["warm"] + options["steps"],
            bf16=gpu,
            tf32=True if gpu else None,
            use_cpu=not gpu,
            learning_rate=1e-4,
            torch_compile=options.get("compile", False),
            gradient_checkpointing=options.get("checkpointing", False),
            dataloader_num_workers=2 if gpu else 0,
            logging_strategy="no",
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
        )
        trainer = Trainer(
            model=net,
            args=arguments,
            train_dataset=Rows(work, options.get("masked", False)),
            callbacks=[times],
        )
        done = trainer.train()
    ends = times.ends[options["warm"] - 1 :]
    taken = [b - a for a, b in pairwise(ends)]
    device = torch.device("cuda" if gpu else "cpu")
    return of(work, taken) | {"loss": done.training_loss, "memory": memory(device)}
