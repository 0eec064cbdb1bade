"""What is compared, and one run of it: three sites and the outer loop in one process."""

from __future__ import annotations

import io
import math
import time
from dataclasses import dataclass
from typing import Any

from ayni.lm.inner import model, ranks
from ayni.lm.inner.evaluate import evaluate
from ayni.lm.inner.model import Trainee
from ayni.lm.inner.order import Order
from ayni.lm.inner.progress import Round
from ayni.lm.inner.settings import Data, Optimiser, Shape, Training
from ayni.lm.inner.settings import Schedule as Rates
from ayni.lm.inner.train import Trainer
from ayni.lm.outer import weights
from ayni.lm.outer.codec import Codec, decode, encode
from ayni.lm.outer.merge import Step, merge
from ayni.lm.outer.schedule import Phase, Schedule
from ayni.lm.parameters import arrays, chunks, count
from bench.joint_model.texts import Corpus, Texts

SITES = 3
ROWS, LENGTH = 4, 64  # of a site's step
SHAPE = Shape(
    vocab_size=256, hidden_size=128, intermediate_size=360, layers=4, heads=4, context=LENGTH
)


@dataclass(frozen=True)
class Case:
    """One way of training. `rounds` as (from step, inner steps); none: one place, or one site."""

    name: str
    rounds: tuple[tuple[int, int], ...] = ()
    lr: float = 1.0
    momentum: float = 0.0
    codec: Codec = Codec.FLOAT32
    optimiser: str = "adamw"
    sites: int = SITES  # whose texts are read; 1 without rounds is a site alone

    def schedule(self, steps: int) -> Schedule:
        """The rounds of a run of so many steps; they are written for 1,000."""
        phases = [
            Phase(from_step=at * steps // 1000, inner_steps=h, lr=self.lr, momentum=self.momentum)
            for at, h in self.rounds
        ]
        return Schedule(steps=steps, phases=tuple(phases))


ONE_PLACE = "one place"
DEFAULT = ((0, 5), (400, 50))
CASES = (
    Case(ONE_PLACE),
    Case("one site alone", sites=1),
    Case("H=5, plain mean", ((0, 5),)),
    Case("H=20, plain mean", ((0, 20),)),
    Case("H=50, plain mean", ((0, 50),)),
    Case("H=100, plain mean", ((0, 100),)),
    Case("H=20, Nesterov 0.7", ((0, 20),), 0.7, 0.9),
    Case("H=50, Nesterov 0.7", ((0, 50),), 0.7, 0.9),
    Case("H=5 to step 400, then 50, plain mean", DEFAULT),
    Case("H=5 to step 400, then 50, plain mean, int8", DEFAULT, codec=Codec.INT8),
    Case("H=5 to step 400, then 50, plain mean, 4 bits", DEFAULT, codec=Codec.INT4),
    Case("one place, Muon", optimiser="muon"),
    Case("H=5 to step 400, then 50, plain mean, Muon", DEFAULT, optimiser="muon"),
)


@dataclass(frozen=True)
class Result:
    """`losses`: bits per byte on held-out text, by language; `sent`: bytes, both directions, a site."""

    case: str
    seed: int
    losses: dict[str, float]
    sent: int
    seconds: float

    @property
    def mean(self) -> float:
        return sum(self.losses.values()) / len(self.losses)

    @property
    def worst(self) -> float:
        return max(self.losses.values())


def run(case: Case, corpus: Corpus, seed: int, steps: int, lr: float) -> Result:
    """Train as the case says and look at the global weights."""
    began = time.perf_counter()
    if case.rounds:
        sites = [
            _trainer(case, t, f"site-{i}", seed, steps, lr, ROWS)
            for i, t in enumerate(corpus.sites)
        ]
        sent = sum(_rounds(case, sites, steps))
    else:
        whole = corpus.together if case.sites > 1 else corpus.sites[0]
        sites = [_trainer(case, whole, "one", seed, steps, lr, ROWS * case.sites)]
        sites[0].round(Round(0, steps, 0))
        sent = 0
    found = evaluate(Trainee(sites[0].model), corpus.heldout, length=LENGTH, rows=64)
    losses = {name: loss.mean / math.log(2) for name, loss in found.items()}
    return Result(case.name, seed, losses, sent, time.perf_counter() - began)


def _trainer(
    case: Case, texts: Texts, site: str, seed: int, steps: int, lr: float, rows: int
) -> Trainer:
    settings = Training(
        schedule=Rates(warmup=steps // 20, decay_from=steps * 4 // 5, decay_steps=steps // 5),
        optimiser=Optimiser(name=case.optimiser, lr=lr),
        data=Data(length=LENGTH, batch=rows),
        seed=seed,
        precision="fp32",
    )
    order = Order(texts, seed=seed, site=site, length=LENGTH)
    net = model.build(model.config_of(SHAPE), seed=seed)
    return Trainer(settings, net, order, ranks.join("cpu"))


def _rounds(case: Case, sites: list[Trainer], steps: int) -> list[int]:
    """All rounds of a run; the bytes of each, up and down, for one site."""
    schedule = case.schedule(steps)
    shapes = {name: tuple(p.shape) for name, p in sites[0].parameters.items()}
    size = count(shapes)
    momentum: Any = None
    step, sent = 0, []
    while length := schedule.inner_steps(step):
        phase = schedule.at(step)
        version = sites[0].progress.version
        brought = [site.round(Round(version, length, step)) for site in sites]
        blobs = [b"".join(encode(chunks(s.pseudo_gradient()), size, case.codec)) for s in sites]
        parts = weights.shares([weights.raw_weight(one.tokens, 0) for one in brought])
        deltas = [decode(io.BytesIO(blob), size) for blob in blobs]
        stepped = list(merge(deltas, parts, Step(phase.lr, phase.momentum), momentum))
        momentum = [one.momentum for one in stepped] if phase.momentum else None
        update = b"".join(encode((one.update for one in stepped), size, case.codec))
        digests = {
            site.apply(arrays(decode(io.BytesIO(update), size), shapes), version + 1)
            for site in sites
        }
        assert len(digests) == 1, "sites hold different weights"
        sent.append(len(blobs[0]) + len(update))
        step += length
    return sent
