"""What GPUs can do, by name: peaks as their makers give them (dense, without sparsity), and their memory.

Memory is the number in the name, in units of 10⁹ bytes. The devices have up to 7 % more, which the driver,
the libraries' own contexts and the allocator's gaps take.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Device:
    """`half`: FLOP/s with bfloat16 inputs and float32 sums, None: it has none; `single`: of float32."""

    name: str
    half: float | None
    single: float
    memory: float


def _device(name: str, half: float | None, single: float, memory: float) -> Device:
    return Device(name, half and half * 1e12, single * 1e12, memory * 1e9)


#: Of two names that fit, the longer one: `H100 PCIe` is no `H100`.
DEVICES = tuple(
    _device(*facts)
    for facts in (
        ("B200", 2250, 75, 180),
        ("GH200", 989, 67, 96),
        ("H200", 989, 67, 141),
        ("H100", 989, 67, 80),
        ("H100 NVL", 835, 60, 94),
        ("H100 PCIe", 756, 51, 80),
        ("A100", 312, 19.5, 40),
        ("A100 80GB", 312, 19.5, 80),
        ("A40", 149.7, 37.4, 48),
        ("A30", 165, 10.3, 24),
        ("A10", 125, 31.2, 24),
        ("L40", 181, 90.5, 48),
        ("L40S", 362, 91.6, 48),
        ("L4", 121, 30.3, 24),
        ("V100", None, 15.7, 16),
        ("V100 32GB", None, 15.7, 32),
        ("P100", None, 10.6, 16),
        ("T4", None, 8.1, 16),
        ("RTX 3090", 71, 35.6, 24),
        ("RTX 4090", 165, 82.6, 24),
        ("MI250X", 383, 47.9, 128),
        ("MI300X", 1307, 163.4, 192),
    )
)
#: Taken where nothing is said, and the plan says so: the commonest in the alliance's centres.
ASSUMED = next(device for device in DEVICES if device.name == "A100")
#: A core of a server's processor: AVX2, two fused multiply-adds of eight floats a cycle, at 2.5 GHz.
CORE = 80e9
_SPEED = re.compile(
    r"(\d{1,9}(?:\.\d{1,6})?)\s*([kmgt]?)(?:bit/s|bit|bps)?", re.ASCII | re.IGNORECASE
)
_UNITS = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12}


def device(name: str) -> Device:
    """The device that a name means: `h100`, `A100-SXM4-80GB`, `NVIDIA H100 PCIe`.

    Raises:
        ValueError: none is known by it.
    """
    words = set(_words(name))
    fitting = [one for one in DEVICES if words.issuperset(_words(one.name))]
    if not fitting:
        known = ", ".join(one.name for one in DEVICES)
        raise ValueError(
            f"device {name[:60]!r} is not known; say its --tflops and --memory to a plan, or "
            f"one of {known}"
        )
    return max(fitting, key=lambda one: len(_words(one.name)))


def speed(text: str) -> float:
    """Bits per second of `100M`, `1G`, `2.5 Gbit/s`.

    Raises:
        ValueError: it is none of these.
    """
    match = _SPEED.fullmatch(text.strip())
    found = float(match.group(1)) * _UNITS[match.group(2).lower()] if match else 0.0
    if not found:
        raise ValueError(f"{text[:40]!r} is no speed of a link; write 100M or 1G (bits per second)")
    return found


def _words(name: str) -> list[str]:
    """`A100-SXM4-80GB` and `a100 80 gb` are a100 and 80gb, whatever else they are."""
    plain = re.sub(r"(\d)\s+gb\b", r"\1gb", name.lower())
    return re.findall(r"[a-z0-9]+", plain)
