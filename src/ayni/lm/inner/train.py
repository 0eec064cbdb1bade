"""The inner loop: H steps from a version of the global weights, and how far they went.

DiLoCo (arXiv 2311.08105): the site trains alone; what leaves it is the pseudo-gradient, the old
global weights minus its own new ones. Moments, schedule and place in the data go on from round to
round as if nothing had happened.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.utils.checkpoint import checkpoint as recomputed

from ayni.errors import UserError
from ayni.lm.inner import packing
from ayni.lm.inner.checkpoint import Checkpoints
from ayni.lm.inner.evaluate import evaluate
from ayni.lm.inner.model import Trainee, check_length, named
from ayni.lm.inner.optim import Optimisers
from ayni.lm.inner.order import Documents, Order
from ayni.lm.inner.progress import Contribution, Loss, Part, Paused, Progress, Round, Stretch
from ayni.lm.inner.ranks import Ranks, shard
from ayni.lm.inner.schedule import factor
from ayni.lm.inner.settings import Training
from ayni.lm.outer.blocks import Floats
from ayni.lm.outer.fragments import WHOLE, split
from ayni.lm.parameters import Named, check_shapes, digest, flat_order


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
        fragments: int = 1,
    ) -> None:
        """`fragments`: in how many the model is exchanged."""
        check_length(model.config, order.length)
        self.settings = settings
        self.model = model
        self.order = order
        self.ranks = ranks
        self.checkpoints = checkpoints
        self._mine = ranks.share(settings.data.batch)
        self._trainee = Trainee(model).to(ranks.device).train()
        self._prepare(model)
        self.parameters = named(model)
        self.base = {name: p.detach().clone() for name, p in self.parameters.items()}
        sizes = {name: p.numel() for name, p in self.parameters.items()}
        self.fragments = split(sizes, fragments)
        self.progress = Progress(parts={name: Part() for name in self.fragments})
        self._optimisers = Optimisers(settings.optimiser, self.parameters)
        self._sums = torch.zeros(len(order.languages), 2, dtype=torch.float64)
        self._ahead: tuple[int, packing.Batch] | None = None  # its first row, and what was read

    def _prepare(self, model: Any) -> None:
        compiled = self.settings.compile
        if compiled is None:
            compiled = self.ranks.device.type == "cuda"
        for layer in model.model.layers:
            if self.settings.recompute:
                layer.forward = partial(recomputed, layer.forward, use_reentrant=False)
            if compiled:  # not the hooks that sharding puts around it
                layer.forward = torch.compile(layer.forward, dynamic=False)
        half = _wants_bf16(self.settings.precision, self.ranks.device)
        if self.ranks.count > 1 or half:
            shard(self._trainee, self.ranks, bf16=half)

    # --- inner steps -----------------------------------------------------------------------

    def round(self, order: Round, *, stop: Callable[[], bool] = lambda: False) -> Contribution:
        """Train the steps that the round asks for, from `base`; a resumed round is finished.

        Raises:
            Diverged: a loss or gradient that is not finite.
            Paused: `stop` said so, on any rank; a checkpoint was written.
        """
        if order.version != self.progress.version:
            raise ValueError(f"asked for version {order.version}, have {self.progress.version}")
        self.progress.begin(order)
        end = order.first_step + order.steps
        self.train(Stretch(self.progress.clock, end, order.lr_scale), stop=stop)
        return Contribution.of(self.progress)

    def train(self, stretch: Stretch, *, stop: Callable[[], bool] = lambda: False) -> bool:
        """Train to a step of the run's clock, from the weights as they are.

        Returns:
            Whether it was told to stop, on any rank, when it had just come there.

        Raises:
            Diverged, Paused: as `round`.
        """
        stopping = False
        self.progress.clock = stretch.start
        began = time.perf_counter()
        while self.progress.clock < stretch.end:
            self._step(stretch.lr_scale)
            self.progress.spent(time.perf_counter() - began)
            began = time.perf_counter()
            stopping = bool(self.ranks.total(torch.tensor(int(stop()))).item())
            if stopping or self.progress.steps % self.settings.checkpoint_every == 0:
                self.save(wait=stopping)
            left = stretch.end - self.progress.clock
            if stopping and left:
                raise Paused(self.progress.done, self.progress.done + left)
        return stopping

    def _step(self, lr_scale: float) -> None:
        step = self.progress.clock
        whole = self._batch(self.progress.rows)
        predicted = int(self.ranks.total(torch.tensor(whole.predicted)).item())
        sums = torch.zeros_like(self._sums, device=self.ranks.device)
        rows = self.settings.data.micro_batch or len(self._mine)
        for part in whole.split(rows):
            self._accumulate(part.to(self.ranks.device), predicted, sums)
        norm = self._optimisers.clip()
        after = self.progress.rows + self.settings.data.batch
        self._ahead = (after, self._read(after))  # while a GPU works
        self._take(self.ranks.total(sums), norm, step)
        self._optimisers.step(factor(self.settings.schedule, step) * lr_scale)
        self.progress.step_done(self.settings.data.batch, predicted)

    def _batch(self, first: int) -> packing.Batch:
        ahead, self._ahead = self._ahead, None
        return ahead[1] if ahead and ahead[0] == first else self._read(first)

    def _read(self, first: int) -> packing.Batch:
        """This rank's rows of the batch that begins with a row."""
        whole = packing.batch([self.order.row(first + place) for place in self._mine])
        return whole.pinned() if self.ranks.device.type == "cuda" else whole

    def _accumulate(self, part: packing.Batch, predicted: int, sums: Tensor) -> None:
        # FSDP averages over ranks; the loss is the mean over all predicted tokens of the site
        share = torch.full((), self.ranks.count / max(1, predicted), device=self.ranks.device)
        total, losses = self._trainee(*part.inputs(self._trainee.attention), share)
        total.backward()
        packing.add_losses(sums, losses, part)

    def _take(self, sums: Tensor, norm: Tensor, step: int) -> None:
        """Losses and norm, read together: the one time in a step that the CPU waits for a GPU."""
        *found, length = torch.cat([sums.flatten(), norm.double().view(1)]).tolist()
        losses = list(zip(self.order.languages, found[::2], found[1::2], strict=True))
        facts = [(f"the loss of {language}", loss) for language, loss, _ in losses]
        for what, value in [*facts, ("the gradient's norm", length)]:
            if not math.isfinite(value):
                self._optimisers.zero_grad()
                raise Diverged(f"{what} at step {step} is {value}: {_REMEDY}")
        for language, loss, count in losses:
            if count:
                self.progress.add_loss(language, loss, int(count))

    # --- global weights --------------------------------------------------------------------

    def pseudo_gradient(self, fragment: str = WHOLE) -> Iterator[tuple[str, Floats]]:
        """Old global minus new local weights, float32, in the flat order; every rank must ask for all."""
        with torch.no_grad():
            for name in self._names(fragment):
                yield name, _array(self.base[name] - self.parameters[name])

    def weights(self, fragment: str = WHOLE) -> Iterator[tuple[str, Floats]]:
        """The global weights, in the flat order; every rank must ask for all. The receiver's own."""
        for name in self._names(fragment):
            yield name, _array(self.base[name].clone())  # `apply` changes the base

    def digest(self, fragment: str = WHOLE) -> str:
        """The digest of the global weights, to be compared with everybody else's."""
        return digest(self.weights(fragment))

    def _names(self, fragment: str) -> list[str]:
        """A fragment's parameters in the flat order; `WHOLE`: all, also of a model in fragments."""
        return flat_order(self.base if fragment == WHOLE else self.fragments[fragment])

    def apply(
        self,
        update: Named,
        version: int,
        fragment: str = WHOLE,
        *,
        mix: float = 0.0,
        hashed: bool = True,
    ) -> str:
        """Subtract a decoded outer update from the global weights and go on from there.

        The subtraction is one float32 operation an element, so that it is the same on every machine.

        Args:
            update: names and arrays of the fragment, in any order.
            version: of the weights that come out.
            mix: how much of its own new weights the site keeps, where it went on training while the
                update was on its way (Streaming DiLoCo, arXiv 2501.18512, overlaps so with 0.5). With
                0 it begins from the global weights, and the round in hand is over.
            hashed: else the caller hashes the weights.

        Returns:
            The digest of the fragment's new global weights; empty, if they are not hashed.

        Raises:
            UserError: an unknown name, another shape, or a value that is not finite; then nothing
                was changed but what came before it, and the weights must be taken anew.
        """
        with torch.no_grad():
            for name, array in update:
                self._check(name, array, "the update")
                self.base[name].sub_(_like(self.base[name], array))
                self.parameters[name].lerp_(self.base[name], 1 - mix)
        self.progress.rebase(version, fragment)
        if not mix:
            self.progress.forget(fragment)
        return self.digest(fragment) if hashed else ""

    def take(self, weights: Named, version: int, fragment: str = WHOLE) -> int:
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
        shapes = {name: tuple(self.base[name].shape) for name in self._names(fragment)}
        check_shapes(shapes, seen, whose="the weights")
        return self.begin_again(version, fragment)

    def begin_again(self, version: int, fragment: str = WHOLE) -> int:
        """Begin from the global weights as they are, as those of a version.

        Returns the tokens of the round that this gives up.
        """
        self._to_base(fragment)
        lost = self.progress.parts[fragment].tokens
        self.progress.rebase(version, fragment)
        self.progress.forget(fragment)
        return lost

    def _to_base(self, fragment: str = WHOLE) -> None:
        with torch.no_grad():
            for name in self._names(fragment):
                self.parameters[name].copy_(self.base[name])

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

    def evaluate(self, documents: Documents, *, rows: int | None = None) -> dict[str, Loss]:
        """The losses of the weights as they are on held-out documents; every rank must ask.

        Args:
            rows: at once on a rank; by default as many as in training.
        """
        return evaluate(
            self._trainee,
            documents,
            length=self.order.length,
            rows=rows or self.settings.data.micro_batch or len(self._mine),
            ranks=self.ranks,
        )

    def evaluate_less(self, change: Named, documents: Documents) -> dict[str, Loss]:
        """The losses of the global weights less a change, which is forgotten then; between rounds only.

        Raises:
            UserError: the change is not of this model, or not finite.
        """
        if self.progress.done:
            raise ValueError("in the middle of a round the site's own weights would be lost")
        try:
            with torch.no_grad():
                for name, array in change:
                    self._check(name, array, "the change")
                    self.parameters[name].copy_(self.base[name] - _like(self.base[name], array))
            return self.evaluate(documents)
        finally:
            self._to_base()

    # --- checkpoints -----------------------------------------------------------------------

    def save(self, *, wait: bool = True) -> None:
        """Write a checkpoint, if this trainer keeps any; else in the background where it can."""
        if self.checkpoints:
            self.checkpoints.save(self._tensors(), self.progress, self.ranks, wait=wait)

    def pause(self) -> NoReturn:
        """Write a checkpoint, for a successor to go on from.

        Raises:
            Paused: always.
        """
        self.save()
        raise Paused(self.progress.done, self.progress.done + self.progress.left)

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
