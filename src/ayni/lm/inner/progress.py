"""How far a site is: what is asked of it, what it did, what it brings. Plain data."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

#: The exit code of a trainer that was told to stop and wrote its checkpoint: start its successor.
GO_ON = 75  # EX_TEMPFAIL of sysexits.h


@dataclass(frozen=True)
class Round:
    """What is asked of a site: so many steps from a version of the global weights.

    `first_step` is the run's inner step at which the round begins (the schedule's clock);
    `lr_scale` is what people set from a round on.
    """

    version: int
    steps: int
    first_step: int
    lr_scale: float = 1.0


@dataclass
class Loss:
    """The sum of the losses of `tokens` predicted tokens, in nats."""

    nats: float = 0.0
    tokens: int = 0

    @property
    def mean(self) -> float:
        """Nats a token; NaN where none was predicted."""
        return self.nats / self.tokens if self.tokens else float("nan")


@dataclass
class Progress:
    """Where a trainer is; written with every checkpoint.

    `rows` is the whole state of the data order. `tokens`, `seconds` and `losses` are the round's.
    """

    version: int = 0
    round: Round | None = None
    done: int = 0
    rows: int = 0
    steps: int = 0  # of this site since the run began
    tokens: int = 0
    seconds: float = 0.0
    losses: dict[str, Loss] = field(default_factory=dict)

    def begin(self, order: Round) -> None:
        """Begin a round; or go on with it, perhaps for longer than was asked before."""
        if self.round is None or replace(self.round, steps=order.steps) != order:
            self.forget_round()
        self.round = order

    def rebase(self, version: int) -> None:
        """The round in hand goes on from another version of the global weights."""
        self.version = version
        if self.round is not None:
            self.round = replace(self.round, version=version)

    def forget_round(self) -> None:
        """The round is over: its result was taken, or given up."""
        self.round = None
        self.done = self.tokens = 0
        self.seconds = 0.0
        self.losses = {}

    def add_loss(self, language: str, nats: float, tokens: int) -> None:
        loss = self.losses.setdefault(language, Loss())
        loss.nats += nats
        loss.tokens += tokens

    def step_done(self, rows: int, tokens: int) -> None:
        self.done += 1
        self.steps += 1
        self.rows += rows
        self.tokens += tokens

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> Self:
        """Raises TypeError or KeyError where it is not what `to_json` gave."""
        given = dict(found)
        given["round"] = Round(**given["round"]) if given["round"] else None
        given["losses"] = {name: Loss(**loss) for name, loss in given["losses"].items()}
        return cls(**given)


@dataclass(frozen=True)
class Contribution:
    """What a round brought, besides the pseudo-gradient: the record's facts."""

    version: int
    steps: int
    tokens: int
    seconds: float
    losses: dict[str, Loss]

    @classmethod
    def of(cls, progress: Progress) -> Self:
        return cls(
            version=progress.version,
            steps=progress.done,
            tokens=progress.tokens,
            seconds=progress.seconds,
            losses=dict(progress.losses),
        )

    @property
    def loss(self) -> float:
        """Nats a token over all languages."""
        nats = sum(loss.nats for loss in self.losses.values())
        return nats / max(1, sum(loss.tokens for loss in self.losses.values()))


class Paused(Exception):
    """A trainer that was told to stop, stopped, with a checkpoint: exit with `GO_ON`."""

    def __init__(self, done: int, steps: int) -> None:
        super().__init__(f"paused after {done} of {steps} steps of this round")
