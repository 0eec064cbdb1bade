"""What is compared, and one run of it: three sites and the outer loop in one process."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from ayni.lm.inner import model, packing, ranks
from ayni.lm.inner.order import Order
from ayni.lm.inner.progress import Round
from ayni.lm.inner.settings import Data, Optimiser, Training
from ayni.lm.inner.settings import Schedule as Rates
from ayni.lm.inner.train import Trainer
from ayni.lm.outer import weights
from ayni.lm.outer.codec import Codec
from ayni.lm.outer.merge import Step
from ayni.lm.outer.schedule import Phase, Schedule, warmed_up
from bench.joint_model.exchange import Encoded, InPlace
from bench.joint_model.scales import SITES, SMALL, Scale
from bench.joint_model.streaming import Streamed
from bench.joint_model.texts import Corpus


class Stretch(NamedTuple):
    """Rounds of `h` inner steps and their outer step, from a thousandth of the run on."""

    start: int
    h: int
    lr: float = 1.0
    momentum: float = 0.0


@dataclass(frozen=True)
class Case:
    """One way of training. `rounds`: none: one place, or one site; "default": as a run has by default."""

    name: str
    rounds: tuple[Stretch, ...] | str = ()
    codec: Codec = Codec.FLOAT32
    optimiser: str = "adamw"
    sites: int = SITES  # whose texts are read; 1 without rounds is a site alone
    momentum: float = 0.0  # of the default schedule, once H is long
    fragments: int = 1
    overlap: int = 0  # inner steps

    def schedule(self, steps: int) -> Schedule:
        """The rounds of a run of so many steps."""
        if isinstance(self.rounds, str):
            return warmed_up(steps, momentum=self.momentum)
        phases = [
            Phase(from_step=s.start * steps // 1000, inner_steps=s.h, lr=s.lr, momentum=s.momentum)
            for s in self.rounds
        ]
        return Schedule(steps=steps, phases=tuple(phases))


ONE_PLACE = "one place"
ONE_PLACE_MUON = "one place, Muon"
WARM = "H=5 to step 400, then 50"
FIRST, THEN = Stretch(0, 5), Stretch(400, 50)


def _same(name: str, h: int, lr: float = 1.0, momentum: float = 0.0) -> Case:
    return Case(name, (Stretch(0, h, lr, momentum),))


CASES = (
    Case(ONE_PLACE),
    Case("one site alone", sites=1),
    _same("H=5, plain mean", 5),
    _same("H=20, plain mean", 20),
    _same("H=50, plain mean", 50),
    _same("H=100, plain mean", 100),
    _same("H=20, Nesterov 0.7", 20, 0.7, 0.9),
    _same("H=50, Nesterov 0.7", 50, 0.7, 0.9),
    Case(f"{WARM}, plain mean", (FIRST, THEN)),
    Case(f"{WARM}, plain mean, int8", (FIRST, THEN), Codec.INT8),
    Case(f"{WARM}, plain mean, 4 bits", (FIRST, THEN), Codec.INT4),
    Case("the default schedule", "default"),
    Case("the default schedule, 4 bits", "default", Codec.INT4),
    *(
        Case(f"the default schedule, 4 bits, {said}", "default", Codec.INT4, fragments=4, overlap=n)
        for said, n in (("4 fragments", 0), ("overlap 5", 5), ("overlap 15", 15))
    ),
    Case("the default schedule with momentum 0.3", "default", momentum=0.3),
    Case("H=5 to step 700, then 50, plain mean", (FIRST, Stretch(700, 50))),
    Case(f"{WARM} with Nesterov 0.7", (FIRST, Stretch(400, 50, 0.7, 0.9))),
    Case(f"{WARM} with momentum 0.3", (FIRST, Stretch(400, 50, 1.0, 0.3))),
    Case(ONE_PLACE_MUON, optimiser="muon"),
    Case(f"{WARM}, plain mean, Muon", (FIRST, THEN), optimiser="muon"),
    Case("the default schedule, Muon", "default", optimiser="muon"),
    Case("the default schedule, 4 bits, Muon", "default", Codec.INT4, "muon"),
    _same("H=30, plain mean", 30),
    _same("H=30, Nesterov 0.4", 30, 0.4, 0.9),
    _same("H=30, Nesterov 0.6", 30, 0.6, 0.9),
    _same("H=30, Nesterov 0.8", 30, 0.8, 0.9),
    Case(
        "H=30, plain mean to step 100, then Nesterov 0.6",
        (Stretch(0, 30), Stretch(100, 30, 0.6, 0.9)),
    ),
    Case("H=30, plain mean, Muon", (Stretch(0, 30),), optimiser="muon"),
    Case("H=30, Nesterov 0.6, Muon", (Stretch(0, 30, 0.6, 0.9),), optimiser="muon"),
)


@dataclass(frozen=True)
class Result:
    """`losses`: bits per byte (or token) of held-out text, by language; `whole`: of all together.
    `sent`: bytes, both directions, a site.
    """

    case: str
    seed: int
    lr: float
    losses: dict[str, float]
    whole: float
    sent: int
    seconds: float

    @property
    def mean(self) -> float:
        return sum(self.losses.values()) / len(self.losses)

    @property
    def worst(self) -> float:
        return max(self.losses.values())


def run(
    case: Case, corpus: Corpus, seed: int, steps: int, lr: float, scale: Scale = SMALL
) -> Result:
    """Train as the case says and look at the global weights."""
    began = time.perf_counter()
    if case.rounds:
        sites = [
            _trainer(case, texts, f"site-{i}", seed, steps, lr, scale, 1)
            for i, texts in enumerate(corpus.sites)
        ]
        sent = sum(_rounds(case, sites, steps, scale))
    else:
        whole = corpus.together if case.sites > 1 else corpus.sites[0]
        sites = [_trainer(case, whole, "one", seed, steps, lr, scale, case.sites)]
        sites[0].round(Round(0, steps, 0))
        sent = 0
    found = sites[0].evaluate(corpus.heldout, rows=64 if scale.encoded else None)
    losses = {name: loss.mean / math.log(2) for name, loss in found.items() if loss.tokens}
    nats, tokens = (sum(getattr(loss, what) for loss in found.values()) for what in _SUMS)
    mean = nats / tokens / math.log(2)
    return Result(case.name, seed, lr, losses, mean, sent, time.perf_counter() - began)


_SUMS = ("nats", "tokens")


def _trainer(
    case: Case, texts: Any, site: str, seed: int, steps: int, lr: float, scale: Scale, shares: int
) -> Trainer:
    settings = Training(
        schedule=Rates(warmup=steps // 20, decay_from=steps * 4 // 5, decay_steps=steps // 5),
        optimiser=Optimiser(name=case.optimiser, lr=lr),
        data=Data(length=scale.length, batch=scale.rows * shares),
        seed=seed,
        precision=scale.precision,
    )
    here = ranks.join("cuda" if scale.precision == "auto" and torch.cuda.is_available() else "cpu")
    attention = packing.attention() if here.device.type == "cuda" else "sdpa"
    order = Order(texts, seed=seed, site=site, length=scale.length)
    net = model.build(model.config_of(scale.shape), seed=seed, attention=attention)
    return Trainer(settings, net, order, here, fragments=case.fragments)


def _rounds(case: Case, sites: list[Trainer], steps: int, scale: Scale) -> list[int]:
    """All rounds of a run; the bytes of each, up and down, for one site."""
    schedule = case.schedule(steps)
    if case.fragments > 1:
        parts = {name: Encoded(sites, case.codec, name) for name in sites[0].fragments}
        streamed = Streamed(sites, parts, schedule, case.overlap)
        streamed.go()
        return streamed.sent
    exchange = (Encoded if scale.encoded else InPlace)(sites, case.codec)
    step, sent = 0, []
    while length := schedule.inner_steps(step):
        phase = schedule.at(step)
        version = sites[0].progress.version
        brought = [site.round(Round(version, length, step)) for site in sites]
        parts = weights.shares([weights.raw_weight(one.tokens, 0) for one in brought])
        sent.append(exchange(parts, Step(phase.lr, phase.momentum), version))
        step += length
    return sent
