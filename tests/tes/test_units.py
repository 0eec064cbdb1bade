"""Sizes and durations as people write and read them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ayni.tes.units import parse_size, show_duration, show_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("500", 500), ("8G", 8 << 30), ("8g", 8 << 30), ("8GiB", 8 << 30), ("512MiB", 512 << 20),
        ("2GB", 2 * 10**9), ("1.5T", 3 << 39), (" 64 KiB ", 64 << 10), ("1PB", 10**15), ("7B", 7),
    ],
)  # fmt: skip
def test_a_size_is_bytes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "G", "8 gigs", "-1", "1e9", "8i", "8GG", "١G", "nan", "9" * 30]
)
def test_what_is_no_size_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ValueError, match="write 8GiB, 512MiB"):
        parse_size(text)


@given(st.integers(0, 1 << 60))
def test_a_shown_size_reads_as_about_the_same(size: int) -> None:
    shown = parse_size(show_size(size))
    assert abs(shown - size) <= max(0.06 * size, 0.5)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.04, "0 s"), (3.21, "3.2 s"), (10, "10 s"), (61, "1 min 1 s"), (3600, "1 h 0 min"),
        (90_061, "1 d 1 h"),
    ],
)  # fmt: skip
def test_a_duration_is_shown_with_its_two_largest_units(seconds: float, shown: str) -> None:
    assert show_duration(seconds) == shown
