"""The hand-made jobs that the network is measured against."""

from __future__ import annotations

from bench.slurm.direct import shares
from hypothesis import given
from hypothesis import strategies as st


@given(st.integers(0, 10_000), st.lists(st.integers(1, 64), min_size=1, max_size=20))
def test_work_is_dealt_in_proportion_to_cores_and_none_is_left_over(
    count: int, cores: list[int]
) -> None:
    parts = shares(count, cores)
    assert sum(parts) == count
    assert all(
        abs(part - count * weight / sum(cores)) < 1
        for part, weight in zip(parts, cores, strict=True)
    )
