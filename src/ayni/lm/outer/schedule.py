"""How many inner steps a round has, and how the outer step is made, by phase of the run.

Few outer steps punish outer momentum, and a long first round loses what it never regains (measured:
H=5 for the first 400 of 1,000 steps, then 50, costs 10 % of the loss where H=50 throughout costs 16 %).
So the plain mean comes first, and H is warmed up.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

MOST_STEPS = 1_000_000_000  # inner steps of a run
Factor = Annotated[float, Field(gt=0, le=100, allow_inf_nan=False)]
Length = Annotated[int, Field(ge=1, le=100_000)]  # of a round


class Phase(BaseModel):
    """From which inner step on, what. `lr` 1 and `momentum` 0: the plain mean of the sites."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    from_step: int = Field(ge=0)
    inner_steps: Length
    lr: Factor = 1.0
    momentum: float = Field(default=0.0, ge=0, lt=1)


class Schedule(BaseModel):
    """The phases of a run of `steps` inner steps, in order; the first begins at step 0."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    steps: int = Field(ge=1, le=MOST_STEPS)
    phases: tuple[Phase, ...] = Field(min_length=1, max_length=1000, strict=False)

    @model_validator(mode="after")
    def _in_order(self) -> Schedule:
        starts = [phase.from_step for phase in self.phases]
        if starts[0] != 0 or starts != sorted(set(starts)):
            raise ValueError("schedule.phases: from_step begins at 0 and grows from phase to phase")
        return self

    def at(self, step: int) -> Phase:
        """The phase that an inner step lies in."""
        return max(
            (phase for phase in self.phases if phase.from_step <= step), key=lambda p: p.from_step
        )

    def inner_steps(self, step: int) -> int:
        """How many inner steps the round has that begins at `step`; 0 when the run is over."""
        return min(self.at(step).inner_steps, max(self.steps - step, 0))

    def turn(self, place: int, of: int) -> int:
        """The length of the first round of the fragment at a place, so that fragments take turns.

        With `of` fragments they are exchanged at equal distances within H (Streaming DiLoCo, arXiv
        2501.18512), and the link is never asked for all of the model at once.
        """
        length = self.inner_steps(0)
        return max(1, length * (place + 1) // of)

    def stretches(self) -> Iterator[tuple[int, int]]:
        """The rounds of an undisturbed run, in order: how many inner steps, and so many of them.

        A round that has begun is not cut where a phase ends, but where the run does.
        """
        starts = [min(phase.from_step, self.steps) for phase in self.phases]
        step = 0
        for phase, (_, end) in zip(self.phases, pairwise([*starts, self.steps]), strict=True):
            whole, rest = divmod(max(0, end - step), phase.inner_steps)
            if whole:
                yield phase.inner_steps, whole
            step += whole * phase.inner_steps
            if rest:
                last = min(phase.inner_steps, self.steps - step)
                yield last, 1
                step += last

    def rounds(self) -> int:
        """How many rounds an undisturbed run has."""
        return sum(count for _, count in self.stretches())


def warmed_up(
    steps: int,
    first: int = 5,
    last: int = 50,
    warm: int | None = None,
    stages: int = 8,
    *,
    lr: float = 1.0,
    momentum: float = 0.0,
) -> Schedule:
    """H grows from `first` to `last` by equal factors, over equal stretches of `warm` inner steps.

    Args:
        warm: when H has reached `last`; by default after 40 % of the steps.
        lr, momentum: of the outer step once H has reached `last`; plain mean before.
    """
    warm = steps * 2 // 5 if warm is None else warm
    stages = max(1, min(stages, warm // max(first, 1)))
    found: dict[int, Phase] = {}
    for stage in range(stages):
        growth = (last / first) ** (stage / stages)
        start = warm * stage // stages
        found[start] = Phase(from_step=start, inner_steps=round(first * growth))
    found[warm] = Phase(from_step=warm, inner_steps=last, lr=lr, momentum=momentum)
    return Schedule(steps=steps, phases=tuple(found.values()))
