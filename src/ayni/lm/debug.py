"""One site's training in this process, a few steps without a network: does it run, learn, and how fast?"""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ayni.lm.config import Run, with_tokenizer
from ayni.lm.inner import model
from ayni.lm.inner.progress import Loss, Round
from ayni.lm.inner.train import Trainer
from ayni.lm.outer.codec import encode
from ayni.lm.parameters import chunks, count
from ayni.lm.plan import flops_per_token
from ayni.lm.planning import shape_of
from ayni.lm.site import build_trainer, heldout_of


@dataclass(frozen=True)
class Step:
    """One inner step. `seconds` since the round began; `losses` of this step alone, in nats a token."""

    number: int
    of: int
    tokens: int
    seconds: float
    losses: dict[str, float]
    loss: float


def debug(
    run: Run, site: str, data: Path, state: Path, steps: int, told: Callable[[Step], None]
) -> dict[str, Any]:
    """Train a site's first steps from the run's first weights, and encode what they brought.

    Args:
        data: the folder of the site's shards.
        state: a folder for checkpoints, which a run's own must not be.
        told: hears of each step.

    Returns:
        Speed, memory, bytes of the contribution, and the losses on held-out text where the run asks for
        evaluations.

    Raises:
        UserError: what is missing or does not fit; a loss that is not finite.
    """
    run = with_tokenizer(run)
    trainer = _trainer(run, site, data, state)
    shape, training = shape_of(run), run.training
    heldout = heldout_of(run, data)
    before = trainer.evaluate(heldout) if heldout else {}
    brought = trainer.round(Round(0, steps, 0), stop=_telling(trainer, steps, told))
    pieces = encode(
        chunks(trainer.pseudo_gradient()),
        count({name: tuple(p.shape) for name, p in trainer.parameters.items()}),
        run.outer.codec,
    )
    size = sum(map(len, pieces))
    speed = run.tokens_per_step * brought.steps / brought.seconds
    after = trainer.evaluate(heldout) if heldout else {}
    return {
        "run": run.run,
        "site": site,
        "device": str(trainer.ranks.device),
        "steps": brought.steps,
        "tokens": brought.tokens,
        "seconds": brought.seconds,
        "tokens_per_second": speed,
        "tflops": speed * flops_per_token(shape, training.data.length) / 1e12,
        "peak_memory": _peak(trainer.ranks.device),
        "contribution_bytes": size,
        "loss": brought.loss,
        "losses": _means(brought.losses),
        "heldout_before": _means(before),
        "heldout_after": _means(after),
    }


def _trainer(run: Run, site: str, data: Path, state: Path) -> Trainer:
    checkpoint = run.model.checkpoint
    trainer = build_trainer(run, site, data, state, checkpoint or Path())
    if checkpoint is not None:
        weights = model.named(model.start(run.model, seed=run.training.seed))
        trainer.take(((name, p.detach().float().numpy()) for name, p in weights.items()), 0)
    return trainer


def _telling(trainer: Trainer, steps: int, told: Callable[[Step], None]) -> Callable[[], bool]:
    """What the trainer asks after each step, whether to stop: never, but each step is told."""
    seen: dict[str, Loss] = {}
    tokens = 0

    def stop() -> bool:
        nonlocal tokens
        progress = trainer.progress
        new = {
            name: Loss(
                loss.nats - seen.get(name, Loss()).nats, loss.tokens - seen.get(name, Loss()).tokens
            )
            for name, loss in progress.losses.items()
        }
        new = {name: loss for name, loss in new.items() if loss.tokens}
        nats, predicted = (
            sum(one.nats for one in new.values()),
            sum(one.tokens for one in new.values()),
        )
        mean = nats / max(1, predicted)
        told(
            Step(
                progress.done, steps, progress.tokens - tokens, progress.seconds, _means(new), mean
            )
        )
        seen.update({name: Loss(loss.nats, loss.tokens) for name, loss in progress.losses.items()})
        tokens = progress.tokens
        return False

    return stop


def _means(losses: dict[str, Loss]) -> dict[str, float]:
    return {name: loss.mean for name, loss in sorted(losses.items()) if loss.tokens}


def _peak(device: torch.device) -> int:
    """Bytes: of the GPU, or of this process."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
