"""The inner loop: H steps from a version of the global weights, and how far they went.

DiLoCo (arXiv 2311.08105): the site trains alone; what leaves it is the pseudo-gradient, the old
global weights minus its own new ones. Moments, schedule and place in the data go on from round to
round as if nothing had happened.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.utils.checkpoint import checkpoint as recomputed

from ayni.errors import UserError
from ayni.lm.inner import packing
from ayni.lm.inner.checkpoint import Checkpoints
from ayni.lm.inner.model import Trainee, check_length, named
from ayni.lm.inner.optim import Optimisers
from ayni.lm.inner.order import Order
from ayni.lm.inner.progress import Contribution, Paused, Progress, Round
from ayni.lm.inner.ranks import Ranks, shard
from ayni.lm.inner.schedule import factor
from ayni.lm.inner.settings import Training
from ayni.lm.outer.blocks import Floats
from ayni.lm.parameters import check_shapes, digest


class Diverged(UserError):
    """A loss or a gradient that is no number; the step was not taken."""


class Trainer:
    """One site's training. Every rank has one, and all call the same methods in the same order."""

    def __init__(
        self,
        settings: Training,
        model: Any,
        order: Order,
        ranks: Ranks,
        *,
        checkpoints: Checkpoints | None = None,
    ) -> None:
        check_length(model.config, order.length)
        self.settings = settings
        self.model = model
        self.order = order
        self.ranks = ranks
        self.checkpoints = checkpoints
        self.progress = Progress()
        self._mine = ranks.share(settings.data.batch)
        self._bf16 = _wants_bf16(settings.precision, ranks.device)
        self._trainee = Trainee(model).to(ranks.device).train()
        self._prepare(model)
        self.parameters = named(model)
        self.base = {name: p.detach().clone() for name, p in self.parameters.items()}
        self._optimisers = Optimisers(settings.optimiser, self.parameters)
        self._attention = model.config._attn_implementation
        self._sums = torch.zeros(len(order.languages), 2, dtype=torch.float64)

    def _prepare(self, model: Any) -> None:
        if self.settings.recompute:
            for layer in model.model.layers:
                layer.forward = partial(recomputed, layer.forward, use_reentrant=False)
        if self.settings.compile:
            for layer in model.model.layers:
                layer.compile()
        if self.ranks.count > 1:
            shard(self._trainee, self.ranks, bf16=self._bf16)

    # --- one round -------------------------------------------------------------------------

    def round(self, order: Round, *, stop: Callable[[], bool] = lambda: False) -> Contribution:
        """Train the steps that the round asks for, from `base`; a resumed round is finished.

        Raises:
            Diverged: a loss or gradient that is not finite.
            Paused: `stop` said so, on any rank; a checkpoint was written.
        """
        if order.version != self.progress.version:
            raise ValueError(f"asked for version {order.version}, have {self.progress.version}")
        self.progress.begin(order)
        began = time.perf_counter()
        while self.progress.done < order.steps:
            self._step(order)
            self.progress.seconds += time.perf_counter() - began
            began = time.perf_counter()
            stopping = bool(self.ranks.total(torch.tensor(int(stop()))).item())
            if stopping or self.progress.steps % self.settings.checkpoint_every == 0:
                self.save(wait=stopping)
            if stopping and self.progress.done < order.steps:
                raise Paused(self.progress.done, order.steps)
        return Contribution.of(self.progress)

    def _step(self, order: Round) -> None:
        step = order.first_step + self.progress.done
        whole, predicted = self._read()
        sums = torch.zeros_like(self._sums, device=self.ranks.device)
        rows = self.settings.data.micro_batch or len(self._mine)
        for part in whole.split(rows):
            self._accumulate(part.to(self.ranks.device), predicted, sums)
        self._take_losses(self.ranks.total(sums).cpu(), step)
        rate = factor(self.settings.schedule, step) * order.lr_scale
        norm = self._optimisers.step(rate)
        if not math.isfinite(norm):
            raise Diverged(f"the gradient's norm at step {step} is {norm}: {_REMEDY}")
        self.progress.step_done(self.settings.data.batch, predicted)

    def _read(self) -> tuple[packing.Batch, int]:
        """This rank's rows of the next batch, and how many tokens all ranks will predict."""
        first = self.progress.rows
        whole = packing.batch([self.order.row(first + place) for place in self._mine])
        predicted = self.ranks.total(torch.tensor(whole.predicted))
        return whole, int(predicted.item())

    def _accumulate(self, part: packing.Batch, predicted: int, sums: Tensor) -> None:
        mask = packing.mask(part.positions, self._attention)
        with self._autocast():
            losses = self._trainee(part.tokens, part.positions, part.targets, mask)
        # FSDP averages over ranks; the loss is the mean over all predicted tokens of the site
        (losses.sum() * (self.ranks.count / max(1, predicted))).backward()
        counted = (part.targets != packing.IGNORED).flatten()
        pairs = torch.stack([losses.detach().flatten().double(), counted.double()], dim=1)
        sums.index_add_(0, part.languages.flatten(), pairs * counted[:, None])

    def _take_losses(self, sums: Tensor, step: int) -> None:
        nats, tokens = sums.T.tolist()
        for language, loss, count in zip(self.order.languages, nats, tokens, strict=True):
            if not math.isfinite(loss):
                raise Diverged(f"the loss of {language} at step {step} is {loss}: {_REMEDY}")
            if count:
                self.progress.add_loss(language, loss, int(count))

    def _autocast(self) -> AbstractContextManager[Any]:
        if self._bf16 and self.ranks.count == 1:  # several ranks: FSDP casts
            kind = self.ranks.device.type
            cast: AbstractContextManager[Any] = torch.autocast(kind, dtype=torch.bfloat16)
            return cast
        return nullcontext()

    # --- global weights --------------------------------------------------------------------

    def pseudo_gradient(self) -> Iterator[tuple[str, Floats]]:
        """Old global minus new local weights, float32, in the flat order; every rank must ask for all."""
        with torch.no_grad():
            for name, p in self.parameters.items():
                yield name, _array(self.base[name] - p)

    def weights(self) -> Iterator[tuple[str, Floats]]:
        """The global weights of `progress.version`, in the flat order; every rank must ask for all."""
        for name, tensor in self.base.items():
            yield name, _array(tensor)

    def digest(self) -> str:
        """The digest of the global weights, to be compared with everybody else's."""
        return digest(self.weights())

    def apply(self, update: Iterable[tuple[str, Floats]], version: int) -> str:
        """Subtract a decoded outer update from the global weights and go on from there.

        The subtraction is one float32 operation an element, so that it is the same on every machine.

        Args:
            update: names and arrays, in any order; parameters that are not named keep their values.
            version: of the weights that come out.

        Returns:
            The digest of the new global weights.

        Raises:
            UserError: an unknown name, another shape, or a value that is not finite; then nothing
                was changed but what came before it, and the weights must be taken anew.
        """
        with torch.no_grad():
            for name, array in update:
                self._check(name, array, "the update")
                self.base[name].sub_(_like(self.base[name], array))
        return self._start_from(version)

    def take(self, weights: Iterable[tuple[str, Floats]], version: int) -> int:
        """Begin from other global weights: a newcomer, or a site that was away for too long.

        Moments and place in the data stay. Returns the tokens of the round that this gives up.

        Raises:
            UserError: weights that are not this model's, or not finite.
        """
        seen: dict[str, tuple[int, ...]] = {}
        with torch.no_grad():
            for name, array in weights:
                self._check(name, array, "the weights")
                seen[name] = array.shape
                self.base[name].copy_(_like(self.base[name], array))
        shapes = {name: tuple(p.shape) for name, p in self.base.items()}
        check_shapes(shapes, seen, whose="the weights")
        lost = self.progress.tokens
        self._start_from(version)
        return lost

    def _start_from(self, version: int) -> str:
        with torch.no_grad():
            for name, p in self.parameters.items():
                p.copy_(self.base[name])
        self.progress.version = version
        self.progress.forget_round()
        return self.digest()

    def _check(self, name: str, array: Floats, whose: str) -> None:
        if name not in self.base:
            raise UserError(f"{whose} names {name}, which the model has not")
        if array.shape != tuple(self.base[name].shape):
            raise UserError(
                f"{whose}: {name} has the shape {list(array.shape)}, the model's is "
                f"{list(self.base[name].shape)}"
            )
        if not np.isfinite(array).all():
            raise UserError(f"{whose}: {name} holds values that are not finite")

    # --- checkpoints -----------------------------------------------------------------------

    def save(self, *, wait: bool = True) -> None:
        """Write a checkpoint, if this trainer keeps any; else in the background where it can."""
        if self.checkpoints:
            self.checkpoints.save(self._tensors(), self.progress, self.ranks, wait=wait)

    def resume(self) -> bool:
        """Go on from the newest whole checkpoint; False where there is none.

        Raises:
            UserError: a checkpoint of another model or optimiser.
        """
        found = self.checkpoints and self.checkpoints.load(self._tensors(), self.ranks)
        if found:
            self.progress = found
        return bool(found)

    def _tensors(self) -> dict[str, Tensor]:
        """Everything that a resumed run needs to go on bit by bit, by name."""
        parts = {
            "model": self.parameters,
            "base": self.base,
            "moments": self._optimisers.state(),
        }
        return {f"{part}/{name}": t for part, found in parts.items() for name, t in found.items()}


_REMEDY = (
    "nothing of this round was sent; lower optimiser.lr (`ayni lm set lr`), lengthen schedule.warmup "
    "or look at the site's data, then go on from the last checkpoint"
)


def _wants_bf16(precision: str, device: Any) -> bool:
    if precision == "auto":
        return bool(device.type == "cuda" and torch.cuda.is_bf16_supported())
    return precision == "bf16"


def _array(tensor: Tensor) -> Floats:
    whole = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
    array: Floats = whole.detach().to("cpu", torch.float32).numpy()
    return array


def _like(tensor: Tensor, array: Floats) -> Tensor:
    """The array on the tensor's device; this rank's part of it, where the tensor is sharded."""
    given = torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32)).to(tensor.device)
    if isinstance(tensor, DTensor):  # every rank cuts its own part: nothing is sent
        return distribute_tensor(given, tensor.device_mesh, tensor.placements, src_data_rank=None)
    return given
