"""The learning rate as a pure function of the run's step: warm-up, stable, decay.

The step counts the run's inner steps, not a round's: an outer round resets nothing. The stable phase
needs no horizon, so that a run's end may be decided late (MiniCPM, arXiv 2404.06395; the decay's
shape, 1 - sqrt, is arXiv 2405.18392's).
"""

from __future__ import annotations

import math

from ayni.lm.inner.settings import Schedule


def factor(schedule: Schedule, step: int) -> float:
    """The share of the peak learning rate at a step (from 0), between `floor` and 1.

    The first step already moves; after the decay the rate stays at the floor.
    """
    if step < 0:
        raise ValueError("a step is not negative")
    if schedule.decay_from is not None and step >= schedule.decay_from:
        done = min(1.0, (step - schedule.decay_from + 1) / schedule.decay_steps)
        return schedule.floor + (1 - schedule.floor) * (1 - math.sqrt(done))
    if step < schedule.warmup:
        return (step + 1) / schedule.warmup
    return 1.0
