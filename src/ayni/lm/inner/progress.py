"""How far a site is: what is asked of it, what it did, what it brings. Plain data."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Self

from ayni.lm.outer.fragments import WHOLE

#: The exit code of a trainer that was told to stop and wrote its checkpoint: start its successor.
GO_ON = 75  # EX_TEMPFAIL of sysexits.h


@dataclass(frozen=True)
class Round:
    """What is asked of a site alone: so many steps from a version of the global weights.

    `first_step` is the run's inner step at which the round begins (the schedule's clock);
    `lr_scale` is what people set from a round on.
    """

    version: int
    steps: int
    first_step: int
    lr_scale: float = 1.0


@dataclass(frozen=True)
class Stretch:
    """What is asked of a site between two exchanges: to train from one step of the run to another."""

    start: int
    end: int
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


@dataclass(frozen=True)
class Brought:
    """What a pseudo-gradient took, and the run's inner step `at` which it was taken."""

    at: int
    steps: int
    tokens: int
    seconds: float


@dataclass
class Part:
    """Where a site is with one fragment of the model.

    Its base is `version` of the global weights, which stands at `step` of the run; at `due` its
    pseudo-gradient is brought (None: the run has not said yet). `done`, `tokens` and `seconds` were
    trained since then, or since the last one was brought: that is `out` until its answer was merged.
    """

    version: int = 0
    step: int = 0
    due: int | None = None
    lr_scale: float = 1.0
    done: int = 0
    tokens: int = 0
    seconds: float = 0.0
    out: Brought | None = None

    def forget(self) -> None:
        """What was trained was taken, or is given up."""
        self.done = self.tokens = 0
        self.seconds = 0.0


@dataclass
class Progress:
    """Where a trainer is; written with every checkpoint.

    `rows` is the whole state of the data order, `clock` the run's inner step that comes next (the
    schedule's clock). `losses` are those since the first fragment was brought.
    """

    rows: int = 0
    steps: int = 0  # of this site since the run began
    clock: int = 0
    losses: dict[str, Loss] = field(default_factory=dict)
    parts: dict[str, Part] = field(default_factory=lambda: {WHOLE: Part()})

    @property
    def lead(self) -> Part:
        """The first fragment, whose rounds are reported; of a model that is exchanged whole, all of it."""
        return self.parts[min(self.parts)]

    @property
    def version(self) -> int:
        return self.lead.version

    @property
    def done(self) -> int:
        return self.lead.done

    @property
    def tokens(self) -> int:
        return self.lead.tokens

    @property
    def seconds(self) -> float:
        return self.lead.seconds

    @property
    def left(self) -> int:
        """Steps until the first fragment is brought; 0: it is on its way, or nothing is asked of it."""
        lead = self.lead
        return 0 if lead.due is None or lead.out else max(0, lead.due - self.clock)

    def begin(self, order: Round) -> None:
        """Begin a round; or go on with it, perhaps for longer than was asked before."""
        if self.clock != order.first_step + self.done:
            self.forget()
        self.clock = order.first_step + self.done

    def bring(self, fragment: str) -> Brought:
        """A fragment's pseudo-gradient is taken now; what is trained from here on is of the next one."""
        part = self.parts[fragment]
        part.out = Brought(self.clock, part.done, part.tokens, part.seconds)
        part.forget()
        return part.out

    def rebase(self, version: int, fragment: str = WHOLE) -> None:
        """What is trained goes on from another version of the global weights."""
        self.parts[fragment].version = version
        self.parts[fragment].out = None

    def forget(self, fragment: str = WHOLE) -> None:
        """A fragment's round is over: its result was taken, or given up."""
        self.parts[fragment].forget()
        if self.parts[fragment] is self.lead:
            self.losses = {}

    def take_losses(self) -> dict[str, Loss]:
        """The losses until here; those of what comes are counted anew."""
        found, self.losses = self.losses, {}
        return found

    def add_loss(self, language: str, nats: float, tokens: int) -> None:
        loss = self.losses.setdefault(language, Loss())
        loss.nats += nats
        loss.tokens += tokens

    def step_done(self, rows: int, tokens: int) -> None:
        self.clock += 1
        self.steps += 1
        self.rows += rows
        for part in self.parts.values():
            part.done += 1
            part.tokens += tokens

    def spent(self, seconds: float) -> None:
        """So long a step took."""
        for part in self.parts.values():
            part.seconds += seconds

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> Self:
        """Raises TypeError or KeyError where it is not what `to_json` gave."""
        given = dict(found)
        given["losses"] = {name: Loss(**loss) for name, loss in given["losses"].items()}
        given["parts"] = {name: _part(**part) for name, part in given["parts"].items()}
        return cls(**given)


def _part(out: dict[str, Any] | None, **given: Any) -> Part:
    return Part(out=Brought(**out) if out else None, **given)


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
