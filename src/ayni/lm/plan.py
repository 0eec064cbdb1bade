"""What a run would take before anything is spent: memory, hours, bytes, cost on the allocation. Pure.

Estimates by the usual counting, good to a tenth where the machine's share of its peak is known: 6 N + causal
attention for the compute (Kaplan et al., arXiv 2001.08361; Chowdhery et al., arXiv 2204.02311, B),
activations after Korthikanti et al., arXiv 2205.05198.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ayni.lm.exchange import Exchange, Link, Streaming, link
from ayni.lm.inner.settings import Shape, Training
from ayni.lm.outer.codec import Codec, blob_size
from ayni.lm.outer.schedule import Schedule

_FLOAT = 4  # bytes: weights, gradients, moments and the round's base are float32
_LOGITS = 1 << 28  # that are in memory at once (`inner.head.LOGITS`)


@dataclass(frozen=True)
class Machine:
    """What a site gives: `count` GPUs (or nodes without one) for the run.

    Args:
        flops: the peak of one, in FLOP/s at the precision of the compute.
        efficiency: the share of the peak that training reaches (MFU).
        memory: of one, in bytes.
        up, down: to and from the coordinator, in bits per second.
        delay: there and back, in seconds.
        cores: that the allocation is charged for, for each of `count`.
        gpu: whether it is charged in GPU-hours.
        half: whether it computes in bfloat16; else in float32.
    """

    site: str
    count: int
    flops: float
    memory: float
    up: float
    down: float
    efficiency: float = 0.35
    delay: float = 0.12
    cores: int = 1
    gpu: bool = True
    half: bool = True


@dataclass(frozen=True)
class Memory:
    """Bytes on one GPU (or node), by what fills them."""

    weights: int
    gradients: int
    moments: int
    base: int
    activations: int

    @property
    def total(self) -> int:
        return self.weights + self.gradients + self.moments + self.base + self.activations


@dataclass(frozen=True)
class SitePlan:
    """One site's share of a run.

    `hours` it computes; it is charged for the whole run's, waiting included. An exchange is one
    round's, from bringing to the answer, all fragments one after the other.
    """

    site: str
    memory: Memory
    fits: bool
    tokens: int
    step_seconds: float
    exchange_seconds: float
    hours: float
    utilisation: float  # the share of the wall-clock in which it computes
    gpu_hours: float
    core_hours: float
    behind: int  # versions that its last round comes too late


@dataclass(frozen=True)
class Waiting:
    """For whom a round waits: for the quorum, then through a grace (`outer.state.Rules`)."""

    quorum: int
    grace: float
    share: float
    window: int

    def lasts(self, times: Sequence[float]) -> float:
        """The seconds of a round that takes each site so long: who is too late to be of use is not
        waited for, who is merely late is, through the grace.
        """
        first = sorted(times)[min(self.quorum, len(times)) - 1]
        limit = first + max(self.grace, self.share * first)
        if any(limit < took <= limit * (1 + self.window) for took in times):
            return limit
        return max(took for took in times if took <= limit)


@dataclass(frozen=True)
class Plan:
    """A whole run. `sent`: a site's bytes in both directions; `parallel`: those of fp32 data-parallel."""

    parameters: int
    flops_per_token: float
    rounds: int
    round_bytes: int
    sent: int
    parallel: int
    hours: float
    exchange: Exchange
    sites: tuple[SitePlan, ...]

    @property
    def tokens(self) -> int:
        return sum(site.tokens for site in self.sites)

    @property
    def saving(self) -> float:
        """How many times fewer bytes than data-parallel in float32."""
        return self.parallel / self.sent


def room(count: int, blob: int, sites: int, keep: int, snapshot_every: int) -> int:
    """The most bytes of a run of `count` parameters at the project's store (`ayni.lm.room`).

    The contributions of two rounds, in encoded blobs; the updates to the versions that are kept, and to
    those since the snapshot before; their snapshots and the one before, in float32.

    Args:
        keep: versions: with a history, all of the run.
    """
    updates, snapshots = keep + snapshot_every, keep // snapshot_every + 2
    return (2 * sites + updates) * blob + snapshots * _FLOAT * count


def parameters(shape: Shape) -> int:
    """The number of parameters, tied embeddings once."""
    h, kv = shape.hidden_size, shape.key_value_heads * shape.head_size
    attention = 2 * h * h + 2 * h * kv
    if shape.family == "qwen2":
        attention += h + 2 * kv  # biases of query, key, value
    if shape.family == "qwen3":
        attention += 2 * shape.head_size  # norms of query and key
    layer = attention + 3 * h * shape.intermediate_size + 2 * h
    return shape.layers * layer + _embeddings(shape) + h


def flops_per_token(shape: Shape, length: int) -> float:
    """Forward and backward, for one token of a row: 6 N and causal attention over half the row.

    N are the parameters that multiply: the input embedding only looks up, the head multiplies.
    """
    spare = 0 if shape.tie_embeddings else shape.vocab_size * shape.hidden_size
    multiplied = parameters(shape) - spare
    return 6 * multiplied + 6 * shape.layers * shape.hidden_size * length


def memory(shape: Shape, training: Training, ranks: int, *, half: bool) -> Memory:
    """Bytes on one of a site's `ranks`; `half`: compute in bfloat16."""
    share = math.ceil(parameters(shape) / ranks)
    data = training.data
    rows = data.micro_batch or max(1, data.batch // ranks)
    return Memory(
        weights=share * _FLOAT + (_FLOAT * _largest_layer(shape) if ranks > 1 else 0),
        gradients=share * _FLOAT,
        moments=_moments(shape, training, ranks),
        base=share * _FLOAT,
        activations=_activations(shape, rows, data.length, recompute=training.recompute, half=half),
    )


def _moments(shape: Shape, training: Training, ranks: int) -> int:
    """AdamW's two, or Muon's one for the hidden matrices and AdamW's two for the embeddings."""
    two = _embeddings(shape) if training.optimiser.name == "muon" else parameters(shape)
    return math.ceil((8 * two + 4 * (parameters(shape) - two)) / ranks)


def _embeddings(shape: Shape) -> int:
    return shape.vocab_size * shape.hidden_size * (1 if shape.tie_embeddings else 2)


def _largest_layer(shape: Shape) -> int:
    """The values that FSDP gathers at once: a layer's, or the embeddings'."""
    return max((parameters(shape) - _embeddings(shape)) // shape.layers, _embeddings(shape))


def _activations(shape: Shape, rows: int, length: int, *, recompute: bool, half: bool) -> int:
    """A token's inputs to every product are kept; no dropout, and attention's scores are never stored.

    With `recompute` a layer keeps its input alone, and one layer at a time is whole.
    """
    size, h = 2 if half else 4, shape.hidden_size
    kv = shape.key_value_heads * shape.head_size
    layer = size * (6 * h + 2 * kv + 4 * shape.intermediate_size) + 2 * 4 * h  # norms in float32
    tokens = rows * length
    kept = size * h * shape.layers + layer if recompute else layer * shape.layers
    logits = 3 * 4 * min(tokens * shape.vocab_size, _LOGITS)
    return tokens * kept + logits


def plan(
    shape: Shape,
    training: Training,
    schedule: Schedule,
    codec: Codec,
    machines: Sequence[Machine],
    waiting: Waiting | None = None,
    streaming: Streaming | None = None,
) -> Plan:
    """The plan of a run in which all sites take part from beginning to end.

    Rounds last as long as the slowest site's, or as long as the others wait.

    Args:
        waiting: for whom a round waits; None: for all.
        streaming: how the model is exchanged; None: whole, and nothing is overlapped.
    """
    count, given = parameters(shape), streaming or Streaming()
    fragments = given.fragments
    streaming = replace(given, apart=schedule.inner_steps(0) / fragments)
    blob = fragments * blob_size(math.ceil(count / fragments), codec)
    links = [
        link(count, blob, codec, one.up, one.down, one.delay, len(machines)) for one in machines
    ]
    paces = list(zip((_step(shape, training, one) for one in machines), links, strict=True))
    trained = [0.0] * len(machines)
    seconds, rounds = 0.0, 0
    behind = [0] * len(machines)
    for length, times_over in schedule.stretches():
        times = [length * pace + streaming.seen(link, pace, length) for pace, link in paces]
        lasts = waiting.lasts(times) if waiting else max(times)
        for place, took in enumerate(times):  # who is slower does a part of its round meanwhile
            trained[place] += times_over * length * min(1.0, lasts / took)
            behind[place] = math.ceil(took / lasts) - 1
        seconds, rounds = seconds + times_over * lasts, rounds + times_over
    sites = tuple(
        _site(
            shape, training, machine, (pace, fragments * link.piece(fragments)), done, seconds, late
        )
        for machine, (pace, link), done, late in zip(machines, paces, trained, behind, strict=True)
    )
    return Plan(
        parameters=count,
        flops_per_token=flops_per_token(shape, training.data.length),
        rounds=rounds,
        round_bytes=2 * blob,
        sent=rounds * 2 * blob,
        parallel=schedule.steps * 2 * 4 * count,
        hours=seconds / 3600,
        exchange=_exchange(sites, links, schedule, streaming),
        sites=sites,
    )


def _exchange(
    sites: Sequence[SitePlan], links: Sequence[Link], schedule: Schedule, streaming: Streaming
) -> Exchange:
    """What a fragment's exchange takes, among those for whom a round waits."""
    waited = [pair for pair in zip(sites, links, strict=True) if not pair[0].behind]
    slowest = max((site for site, _ in waited), key=lambda site: site.step_seconds)
    return Exchange(
        link=max((link for _, link in waited), key=lambda link: link.piece(streaming.fragments)),
        streaming=streaming,
        site=slowest.site,
        pace=slowest.step_seconds,
        length=min(schedule.steps, max(phase.inner_steps for phase in schedule.phases)),
    )


def _step(shape: Shape, training: Training, machine: Machine) -> float:
    """Seconds of an inner step."""
    data = training.data
    flops = flops_per_token(shape, data.length) * data.batch * data.length
    if training.recompute:
        flops *= 4 / 3
    return flops / (machine.count * machine.flops * machine.efficiency)


def _site(
    shape: Shape,
    training: Training,
    machine: Machine,
    pace: tuple[float, float],
    steps: float,
    seconds: float,
    behind: int,
) -> SitePlan:
    needed = memory(shape, training, machine.count, half=machine.half)
    held = machine.count * seconds / 3600
    return SitePlan(
        site=machine.site,
        memory=needed,
        fits=needed.total <= machine.memory,
        tokens=round(steps * training.data.batch * training.data.length),
        step_seconds=pace[0],
        exchange_seconds=pace[1],
        hours=steps * pace[0] / 3600,
        utilisation=steps * pace[0] / seconds,
        gpu_hours=held if machine.gpu else 0.0,
        core_hours=held * machine.cores,
        behind=behind,
    )
