"""Warm-up, stable, decay."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ayni.lm.inner.schedule import factor
from ayni.lm.inner.settings import Schedule

WSD = Schedule(warmup=4, decay_from=10, decay_steps=4, floor=0.1)


def test_the_rate_rises_stays_and_falls_to_its_floor() -> None:
    rates = [factor(WSD, step) for step in range(16)]
    assert rates[:10] == [0.25, 0.5, 0.75, 1, 1, 1, 1, 1, 1, 1]
    assert rates[10] == pytest.approx(0.1 + 0.9 * 0.5)
    assert rates[13:] == pytest.approx([0.1, 0.1, 0.1])


def test_without_a_horizon_it_never_falls() -> None:
    assert factor(Schedule(warmup=0), 0) == 1
    assert factor(Schedule(warmup=10), 10**9) == 1


@given(st.integers(0, 50), st.integers(0, 50), st.integers(1, 50), st.floats(0, 0.9))
def test_it_moves_at_every_step_but_may_end_at_nought(
    warmup: int, stable: int, decay: int, floor: float
) -> None:
    wsd = Schedule(warmup=warmup, decay_from=warmup + stable, decay_steps=decay, floor=floor)
    rates = [factor(wsd, step) for step in range(warmup + stable + decay + 5)]
    assert all(0 < rate <= 1 for rate in rates[: warmup + stable + decay - 1])
    tail = rates[warmup + stable :]
    assert tail == sorted(tail, reverse=True)
    assert tail[-1] == pytest.approx(floor)


def test_a_decay_within_the_warm_up_is_refused() -> None:
    with pytest.raises(ValidationError, match="decay_from must not lie before"):
        Schedule(warmup=10, decay_from=5)
