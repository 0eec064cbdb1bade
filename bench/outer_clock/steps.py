"""How many steps of one place are as good as the default schedule's run, at 0.85M parameters."""

from __future__ import annotations

import math

from bench.joint_model.cases import CASES, ONE_PLACE, run
from bench.joint_model.texts import Corpus, fetched

STEPS = 1000
FEWER = (400, 500, 600, 700, 800, 1000)
RATE = 2e-3
DEFAULT = "the default schedule, 4 bits"


def needed() -> float:
    """Steps of ours over those of one place, for the same loss on held-out text."""
    corpus = fetched()
    (case,) = (case for case in CASES if case.name == DEFAULT)
    ours = run(case, corpus, 0, STEPS, RATE).mean
    print(f"{case.name}, {STEPS} steps: {ours:.4f} bits per byte", flush=True)
    found = _same(corpus, ours)
    print(f"= steps for the same loss, 0.85M parameters: {STEPS / found:.2f} times data-parallel's")
    return STEPS / found


def _same(corpus: Corpus, wanted: float) -> float:
    """The steps after which one place is as good, between the two lengths on either side (log-linear)."""
    (one,) = (case for case in CASES if case.name == ONE_PLACE)
    before: tuple[int, float] | None = None
    for steps in FEWER:
        loss = run(one, corpus, 0, steps, RATE).mean
        print(f"one place, {steps} steps: {loss:.4f} bits per byte", flush=True)
        if loss <= wanted:
            if before is None:
                return float(steps)
            share = (before[1] - wanted) / (before[1] - loss)
            return math.exp((1 - share) * math.log(before[0]) + share * math.log(steps))
        before = steps, loss
    return float(STEPS)


if __name__ == "__main__":
    needed()
