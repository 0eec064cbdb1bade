"""GPUs by name, and speeds of links as people write them."""

from __future__ import annotations

import pytest

from ayni.lm.devices import DEVICES, device, speed


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("h100", "H100"),
        ("NVIDIA H100 PCIe", "H100 PCIe"),
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA GH200 480GB", "GH200"),
        ("A100-SXM4-80GB", "A100 80GB"),
        ("a100 80 GB", "A100 80GB"),
        ("A100-SXM4-40GB", "A100"),
        ("Tesla V100-SXM2-32GB", "V100 32GB"),
        ("NVIDIA L40S", "L40S"),
        ("GeForce RTX 4090", "RTX 4090"),
    ],
)
def test_a_device_is_known_by_what_drivers_and_people_call_it(name: str, found: str) -> None:
    assert device(name).name == found


@pytest.mark.parametrize("one", DEVICES, ids=lambda one: one.name)
def test_each_device_is_found_by_its_own_name(one: object) -> None:
    assert device(one.name) == one  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["", "H", "H1000", "GPU", "4090 RTZ"])
def test_what_is_no_device_is_refused_with_those_that_are(name: str) -> None:
    with pytest.raises(ValueError, match="H200"):
        device(name)


@pytest.mark.parametrize(
    ("text", "bits"),
    [("100M", 1e8), ("1G", 1e9), ("2.5 Gbit/s", 2.5e9), ("10gbps", 1e10), ("9600", 9600.0)],
)
def test_speeds_of_links(text: str, bits: float) -> None:
    assert speed(text) == bits


@pytest.mark.parametrize("text", ["", "fast", "0", "-1G", "1GB", "1G/h", "1e9", "0.0M"])
def test_what_is_no_speed_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="100M or 1G"):
        speed(text)
