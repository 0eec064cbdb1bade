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
        done = min(1.0, (step - schedule.decay_from + 1) / (schedule.decay_steps or 1))
        return schedule.floor + (1 - schedule.floor) * (1 - math.sqrt(done))
    if step < schedule.warmup:
        return (step + 1) / schedule.warmup
    return 1.0


def resolved(schedule: Schedule, steps: int) -> Schedule:
    """The schedule of a run of so many steps, with what was left open.

    The warm-up takes at most a tenth of the run. The last tenth is the decay, in which a run gains
    most of what a cosine over all of it would: a shorter one costs loss (MiniCPM, section 4.3).

    Raises:
        ValueError: it does not fit into the run; the message names the key.
    """
    tenth = steps // 10
    given = "warmup" in schedule.model_fields_set
    warmup = schedule.warmup if given else min(schedule.warmup, tenth)
    begin, length = schedule.decay_from, schedule.decay_steps
    if warmup >= steps:
        raise ValueError(f"schedule.warmup: the run has {steps} steps; write fewer than that")
    if begin is None:
        if length is None:  # a decay's last step is at the floor: of one step alone it is no use
            length = min(tenth, steps - warmup) if tenth > 1 else 0
        begin = max(warmup, steps - length)
    elif begin >= steps:
        raise ValueError(f"schedule.decay_from: the run ends at step {steps}; write an earlier one")
    length = steps - begin if length is None else length
    if length > steps - begin:
        raise ValueError(
            f"schedule.decay_steps: after step {begin} the run has {steps - begin} steps left; write "
            "no more"
        )
    filled = {"warmup": warmup, "decay_from": begin if length else None, "decay_steps": length}
    return schedule.model_copy(update=filled)
