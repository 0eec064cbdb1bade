"""What a run would take, before anything is spent."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest

from ayni.lm.exchange import Exchange, Link, Streaming, link
from ayni.lm.inner.settings import Data, Optimiser, Shape, Training
from ayni.lm.outer.codec import Codec, encode
from ayni.lm.outer.schedule import Phase, Schedule, warmed_up
from ayni.lm.plan import (
    Machine,
    Waiting,
    flops_per_token,
    memory,
    parameters,
    plan,
)
from tests.lm.inner.small import SHAPE

#: About a billion parameters, as Llama 3.2 has them.
BILLION = Shape(
    vocab_size=128_256,
    hidden_size=2048,
    intermediate_size=8192,
    layers=16,
    heads=32,
    kv_heads=8,
    context=8192,
)
TRAINING = Training(data=Data(length=4096, batch=64, micro_batch=1))
SCHEDULE = Schedule(
    steps=1000, phases=(Phase(from_step=0, inner_steps=5), Phase(from_step=400, inner_steps=50))
)


def machine(site: str = "cl", **changed: Any) -> Machine:
    given = {"count": 1, "flops": 989e12, "memory": 141e9, "up": 1e8, "down": 1e8}
    return Machine(site, **(given | {"efficiency": 0.4, "delay": 0.12, "cores": 16} | changed))


@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2", "qwen3"])
@pytest.mark.parametrize("tied", [True, False])
def test_parameters_are_counted_as_the_model_has_them(family: Any, tied: bool) -> None:
    pytest.importorskip("torch")
    from ayni.lm.inner import model

    shape = Shape(**{**SHAPE.model_dump(), "family": family, "tie_embeddings": tied})
    built = model.named(model.build(model.config_of(shape), seed=0))
    assert parameters(shape) == sum(p.numel() for p in built.values())


def test_the_billion_has_a_billion() -> None:
    assert parameters(BILLION) == 1_235_814_400  # what its model card says


def test_the_compute_is_what_torch_counts() -> None:
    torch = pytest.importorskip("torch")
    from torch.utils.flop_counter import FlopCounterMode

    from ayni.lm.inner import model

    shape = Shape(vocab_size=512, hidden_size=64, intermediate_size=160, layers=3, heads=4)
    net = model.build(model.config_of(shape), seed=0, attention="eager")
    ids = torch.zeros(1, 256, dtype=torch.long)
    with FlopCounterMode(display=False) as counter:
        net(input_ids=ids, labels=ids).loss.backward()
    whole = counter.get_total_flops() / 256  # torch counts what the causal mask leaves out, too
    causal = 6 * shape.layers * shape.hidden_size * 256
    assert flops_per_token(shape, 256) == pytest.approx(whole - causal, rel=0.01)


def test_bytes_are_those_of_the_codec() -> None:
    small = Shape(**{**SHAPE.model_dump(), "layers": 1})
    found = plan(small, TRAINING, SCHEDULE, Codec.INT8, [machine()])
    vector = np.ones(found.parameters, np.float32)
    blob = b"".join(encode([vector], vector.size, Codec.INT8))
    assert found.round_bytes == 2 * len(io.BytesIO(blob).read())
    assert found.rounds == 80 + 12
    assert found.sent == found.rounds * found.round_bytes
    assert found.parallel == 1000 * 8 * found.parameters


def test_weights_gradients_moments_and_base_are_twenty_bytes_a_parameter_with_adamw() -> None:
    adamw = TRAINING.model_copy(update={"optimiser": Optimiser(name="adamw")})
    found = memory(BILLION, adamw, 1, half=True)
    assert found.total - found.activations == 20 * parameters(BILLION)
    assert memory(BILLION, TRAINING, 1, half=True).moments < found.moments


def test_more_ranks_hold_less_each_and_recomputing_keeps_less() -> None:
    one, eight = (memory(BILLION, TRAINING, ranks, half=True) for ranks in (1, 8))
    assert eight.moments * 8 == one.moments
    assert eight.total < one.total
    again = TRAINING.model_copy(update={"recompute": True})
    assert memory(BILLION, again, 1, half=True).activations < one.activations / 2


def test_a_model_that_does_not_fit_is_said_to() -> None:
    small = plan(BILLION, TRAINING, SCHEDULE, Codec.INT4, [machine(memory=24e9)])
    large = plan(BILLION, TRAINING, SCHEDULE, Codec.INT4, [machine()])
    assert not small.sites[0].fits
    assert large.sites[0].fits


def test_all_wait_for_the_slowest_and_are_charged_for_it() -> None:
    found = plan(
        BILLION, TRAINING, SCHEDULE, Codec.INT4, [machine("cl"), machine("mx", flops=989e12 / 2)]
    )
    fast, slow = found.sites
    assert slow.hours == pytest.approx(2 * fast.hours)
    assert fast.gpu_hours == slow.gpu_hours == pytest.approx(found.hours)
    assert fast.core_hours == pytest.approx(16 * found.hours)
    assert fast.utilisation < slow.utilisation < 1


def test_hours_are_compute_and_exchanges() -> None:
    found = plan(BILLION, TRAINING, SCHEDULE, Codec.INT4, [machine()])
    step = flops_per_token(BILLION, 4096) * 64 * 4096 / (0.4 * 989e12)
    way = link(found.parameters, found.round_bytes // 2, Codec.INT4, 1e8, 1e8, 0.12, sites=1)
    assert way.up == way.down == found.round_bytes // 2 * 8 / 1e8
    assert way.computed > 0 and way.delay > 2 * 0.12
    assert found.hours * 3600 == pytest.approx(1000 * step + found.rounds * way.piece(1))
    assert found.sites[0].exchange_seconds == pytest.approx(found.exchange.seconds)
    assert sum(found.exchange.parts.values()) == pytest.approx(found.exchange.seconds)


@pytest.mark.parametrize(("overlap", "seen"), [(0, 64.0), (4, 32.0), (8, 0.0), (100, 0.0)])
def test_what_is_exchanged_while_a_site_trains_is_not_waited_for(overlap: int, seen: float) -> None:
    """Eight fragments, eight seconds each, of a round of 50 steps in 50 seconds."""
    way, streaming = Link(up=40.0, down=20.0, delay=0.5), Streaming(8, overlap)
    assert Exchange(way, streaming, "cl", pace=1.0, length=50).needed() == 8
    assert streaming.seen(way, 1.0, 50) == pytest.approx(seen)


def test_fragments_that_are_brought_together_queue_and_are_waited_for_together() -> None:
    """A way that is busy with each for five seconds, and one fragment a second."""
    way = Link(up=40.0, down=20.0, delay=0.5)
    assert Streaming(8, 10, apart=5).queue(way, 1.0) == 0
    together = Streaming(8, 10, apart=1)
    assert together.queue(way, 1.0) == 7 * 4
    assert together.seen(way, 1.0, 50) == pytest.approx(8 + 28 - 10)
    assert Exchange(way, together, "cl", pace=1.0, length=50).needed() == 36


#: `python -m bench.outer_clock` played the same exchanges one by one: docs/performance.md.
@pytest.mark.parametrize(
    ("rate", "delay", "warm", "streaming", "clock"),
    [
        (100e6, 0.12, None, Streaming(), 0.345),
        (100e6, 0.12, None, Streaming(8, 15), 0.996),
        (100e6, 0.12, 2, Streaming(), 0.323),
        (100e6, 0.12, 2, Streaming(8, 15), 0.605),
        (100e6, 0.12, 2, Streaming(8, 50), 0.92),
        (10e9, 0.06, None, Streaming(), 0.474),
        (10e9, 0.06, 2, Streaming(8, 15), 0.672),
    ],
)
def test_sites_train_as_much_of_the_time_as_on_the_clock(
    rate: float, delay: float, warm: int | None, streaming: Streaming, clock: float
) -> None:
    shape = Shape(
        vocab_size=32768,
        hidden_size=2048,
        intermediate_size=5632,
        layers=20,
        heads=16,
        context=4096,
    )
    training = Training(data=Data(length=4096, batch=32, micro_batch=1))
    steady = Schedule(steps=2000, phases=(Phase(from_step=0, inner_steps=50),))
    schedule = steady if warm is None else warmed_up(2000, warm=2000 * warm // 100)
    sites = [
        machine(name, up=rate, down=rate, delay=delay, efficiency=0.45) for name in ("a", "b", "c")
    ]
    found = plan(shape, training, schedule, Codec.INT4_DEFLATE, sites, streaming=streaming)
    assert found.sites[0].utilisation == pytest.approx(clock, rel=0.1)


def test_an_exchange_is_measured_in_steps_of_the_slowest_site_that_is_waited_for() -> None:
    fast, slow = machine("cl"), machine("mx", flops=989e12 / 2)
    late = machine("co", flops=989e10, up=1e5)
    waiting = Waiting(2, 5.0, 0.25, 2)
    found = plan(BILLION, TRAINING, SCHEDULE, Codec.INT4, [fast, slow, late], waiting).exchange
    assert (found.site, found.length) == ("mx", 50)
    assert found.needed() == -(-found.seconds // found.pace)
    assert found.link.up < 100


def test_no_overlap_outruns_a_link() -> None:
    link = Link(up=80.0, down=20.0, delay=0.5)
    assert Streaming(8, 50).seen(link, 1.0, 50) == pytest.approx(30.0)


def test_fragments_and_overlap_shorten_a_run_on_a_slow_link() -> None:
    plain = plan(BILLION, TRAINING, SCHEDULE, Codec.INT4, [machine()])
    found = plan(BILLION, TRAINING, SCHEDULE, Codec.INT4, [machine()], streaming=Streaming(8, 50))
    assert found.hours < plain.hours and found.sites[0].utilisation > plain.sites[0].utilisation
    assert found.round_bytes == pytest.approx(plain.round_bytes, rel=1e-4)


def test_a_round_does_not_wait_for_whom_it_would_discard() -> None:
    """The outer loop's own rules: quorum, grace, window."""
    waiting = Waiting(quorum=2, grace=5.0, share=0.25, window=2)
    assert waiting.lasts([100.0, 100.0, 110.0]) == 110.0
    assert waiting.lasts([100.0, 100.0, 300.0]) == 125.0  # late, and of use
    assert waiting.lasts([100.0, 100.0, 1000.0]) == 100.0
    assert waiting.lasts([1.0, 1.0, 6.0]) == 6.0


def test_who_is_much_slower_does_less_and_is_said_to_be_late() -> None:
    fast = [machine("cl"), machine("mx")]
    slow = machine("co", flops=989e10)
    waiting = Waiting(2, 5.0, 0.25, 2)
    found = plan(BILLION, TRAINING, SCHEDULE, Codec.INT4, [*fast, slow], waiting)
    alone = plan(BILLION, TRAINING, SCHEDULE, Codec.INT4, [*fast, machine("co")])
    assert found.hours == pytest.approx(alone.hours)
    cl, _, co = found.sites
    assert (cl.behind, cl.tokens) == (0, 1000 * 64 * 4096)
    assert co.behind > 2 and co.tokens < cl.tokens / 10


def test_a_published_run_took_what_the_plan_says() -> None:
    """TinyLlama (arXiv 2401.02385): 24,000 tokens/s on an A100 are 56 % of its peak, and 300 billion
    tokens took 3,456 GPU-hours.
    """
    tiny = Shape(
        vocab_size=32_000, hidden_size=2048, intermediate_size=5632, layers=22, heads=32,
        kv_heads=4, context=2048, tie_embeddings=False,
    )  # fmt: skip
    assert parameters(tiny) == 1_100_048_384
    a100 = machine(flops=312e12, memory=40e9, efficiency=0.56, up=1e15, down=1e15, delay=0)
    training = Training(data=Data(length=2048, batch=512, micro_batch=8))
    steps = round(300e9 / (512 * 2048))
    schedule = Schedule(steps=steps, phases=(Phase(from_step=0, inner_steps=500),))
    found = plan(tiny, training, schedule, Codec.INT8, [a100])
    assert found.sites[0].tokens / found.hours / 3600 == pytest.approx(24_000, rel=0.1)
    assert found.sites[0].gpu_hours == pytest.approx(3456, rel=0.1)


def test_a_site_without_gpus_is_charged_in_core_hours() -> None:
    site = plan(BILLION, TRAINING, SCHEDULE, Codec.INT4, [machine(gpu=False)]).sites[0]
    assert site.gpu_hours == 0
    assert site.core_hours > 0
