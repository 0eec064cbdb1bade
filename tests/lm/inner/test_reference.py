"""Inner training agrees with an independent one in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from ayni.lm.inner import model, ranks
from ayni.lm.inner.progress import Round
from ayni.lm.inner.schedule import factor
from ayni.lm.inner.settings import Data, Optimiser
from ayni.lm.inner.train import Trainer
from tests.lm.inner.reference import Reference
from tests.lm.inner.small import SHAPE, order, training

STEPS = 8
#: `eps` is larger than usual: where a gradient is a rounding error, AdamW would blow it up to a full
#: step in a direction of its own.
OPTIMISER = Optimiser(name="adamw", lr=3e-3, clip=0.7, eps=1e-4)


def both(dtype: Any) -> tuple[Any, Reference]:
    settings = training(optimiser=OPTIMISER, data=Data(length=24, batch=4, micro_batch=2))
    net = model.build(model.config_of(SHAPE), seed=3).to(dtype)
    site = Trainer(settings, net, order(settings), ranks.join("cpu"))
    start = {n: p.detach().numpy().astype(np.float64) for n, p in site.parameters.items()}
    return site, Reference(SHAPE, OPTIMISER, start)


def batches(site: Any) -> Any:
    for step in range(STEPS):
        rows = [site.order.row(step * 4 + place) for place in range(4)]
        rate = OPTIMISER.lr * factor(site.settings.schedule, step)
        yield [(row.tokens, row.segments) for row in rows], rate


@pytest.mark.parametrize("name", ["float32", "float64"])
def test_losses_agree_step_by_step(name: str) -> None:
    site, reference = both(getattr(torch, name))
    for step, (rows, rate) in enumerate(batches(site)):
        wanted = reference.step(rows, rate)
        brought = site.round(Round(step, 1, step))
        assert brought.loss == pytest.approx(wanted, rel=1e-5)
        site.progress.rebase(step + 1)
    assert brought.loss < 3.6  # it did learn something: ln 48 = 3.87


@pytest.mark.parametrize("name, tolerance", [("float32", 1e-5), ("float64", 1e-6)])
def test_weights_agree_after_several_steps(name: str, tolerance: float) -> None:
    site, reference = both(getattr(torch, name))
    for rows, rate in batches(site):
        reference.step(rows, rate)
    site.round(Round(0, STEPS, 0))
    for parameter, p in site.parameters.items():
        wanted = reference.parameters[parameter]
        found = p.detach().numpy()
        assert np.abs(found - wanted).max() <= tolerance * np.abs(wanted).max(), parameter


def test_one_step_of_the_reference_is_numerical_differentiation() -> None:
    """The reference's gradients by hand are those of its own loss."""
    _, reference = both(torch.float64)
    rows = [(np.array([1, 5, 5, 9, 2, 7, 7]), np.array([0, 0, 0, 1, 1, 1, 1]))]
    gradients = {n: np.zeros_like(p) for n, p in reference.parameters.items()}
    reference._row(*rows[0], 5, gradients)
    generator = np.random.default_rng(0)
    for name, p in reference.parameters.items():
        place = tuple(generator.integers(size) for size in p.shape)
        if name == "model.embed_tokens.weight":
            place = (5, 3)
        spare = {n: np.zeros_like(q) for n, q in reference.parameters.items()}
        kept, losses = p[place], []
        for change in (1e-5, -1e-5):
            p[place] = kept + change
            losses.append(reference._row(*rows[0], 5, spare) / 5)
        p[place] = kept
        assert gradients[name][place] == pytest.approx((losses[0] - losses[1]) / 2e-5, abs=1e-8)
