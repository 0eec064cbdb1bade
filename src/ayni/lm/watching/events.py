"""TensorBoard's event files: scalars, without the libraries that it drags in.

A file is a row of TFRecords (length, masked CRC-32C of it, data, masked CRC-32C of that), each an `Event`
of TensorFlow's `event.proto` in Protocol Buffers' wire format. TensorBoard takes a folder for a run.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import BinaryIO

_VERSION = "brain.Event:2"
_POLYNOMIAL = 0x82F63B78  # CRC-32C (Castagnoli, RFC 3720, appendix B.4), reflected
_MASK = 0xA282EAD8


@dataclass(frozen=True)
class Scalar:
    """`at`: seconds since 1970; `step`: the axis that TensorBoard draws by."""

    at: float
    step: int
    tag: str
    value: float


def write(file: BinaryIO, scalars: Iterable[Scalar], began: float) -> None:
    """An event file: its version, then the scalars in their order."""
    file.write(record(_double(1, began) + _bytes(3, _VERSION.encode())))
    for one in scalars:
        value = _bytes(1, one.tag.encode()) + _float(2, one.value)
        summary = _bytes(5, _bytes(1, value))
        file.write(record(_double(1, one.at) + _whole(2, one.step) + summary))


def record(data: bytes) -> bytes:
    """A TFRecord."""
    length = struct.pack("<Q", len(data))
    return length + _masked(length) + data + _masked(data)


def crc32c(data: bytes) -> int:
    """The CRC-32C of some bytes."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def _table() -> list[int]:
    found = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (_POLYNOMIAL if value & 1 else 0)
        found.append(value)
    return found


_TABLE = _table()


def _masked(data: bytes) -> bytes:
    """TFRecord's mask: so that a CRC over data that hold CRCs is one still."""
    crc = crc32c(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + _MASK) & 0xFFFFFFFF)


# --- Protocol Buffers' wire format ------------------------------------------------------------


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])


def _whole(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _double(field: int, value: float) -> bytes:
    return _varint(field << 3 | 1) + struct.pack("<d", value)


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _float(field: int, value: float) -> bytes:
    return _varint(field << 3 | 5) + struct.pack("<f", value)
