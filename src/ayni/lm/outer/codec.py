"""Pseudo-gradients as bytes: float32, 8 bits, or 4 bits, each block of values with its own scale.

No error feedback: a block's scale follows its largest value, so rounding errors stay small beside what
a round moves (Streaming DiLoCo, arXiv 2501.18512, found none needed at 4 bits). The same values give
the same bytes on any machine, and the same bytes the same values: each operation is one correctly
rounded elementwise step. Only `INT4_DEFLATE` leaves the bytes, not the values, to the zlib at hand.

A blob, little-endian:

    magic 8 | codec u8 | 0 u8 | block u16 | chunk u32 | count u64        the header
    stored u32 | check 16 | scales bf16 × blocks | codes                 each chunk of 4 Mi values

`check` is BLAKE3 over header, chunk number, scales and codes. It finds damage, not malice: who sent
the blob is for the signature over its hash to say.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Generator
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from ayni.lm.outer.blocks import CHUNK, Chunks, Floats, sizes, tiles

MAGIC = b"AYNIPG\x02\n"
_HEADER = struct.Struct("<8sBBHIQ")
_CHUNK = struct.Struct("<I16s")
MAX_COUNT = 1 << 40

#: Values that are coded at a time. Their scratch stays in the cache; with a quarter of it, threads that
#: decode beside each other would spend half of their time handing over Python's lock.
_TILE = 1 << 18

#: Values beyond are no pseudo-gradient. Blocks whose largest value is below `_TINY` are taken as zero,
#: so that no result is subnormal: some programs switch subnormals off for the whole process.
_HUGE = np.float32(2.0**100)
_TINY = np.float32(2.0**-100)

#: The fifteen levels of 4 bits, in 127ths of a block's scale: least squares for Laplace-distributed
#: values in blocks of 64 (a third to a half less squared error than even steps).
_LEVELS = np.array(
    [-121, -90, -67, -49, -33, -21, -10, 0, 10, 21, 33, 49, 67, 90, 121], dtype=np.int16
)
_ZERO = 7  # the code of zero
_UNUSED = 15  # the sixteenth code


class Codec(IntEnum):
    FLOAT32 = 0
    INT8 = 1
    INT4 = 2
    INT4_DEFLATE = 3  # Huffman-coded: 3.9 bits a value, of real pseudo-gradients


#: Values to a scale, unless the caller says otherwise. Longer blocks have more small codes, which
#: Huffman's are short for: of real pseudo-gradients 4.07 bits at 64 and 3.88 at 128.
BLOCK = {Codec.FLOAT32: 0, Codec.INT8: 128, Codec.INT4: 64, Codec.INT4_DEFLATE: 128}
_BLOCKS = (32, 64, 128, 256, 512, 1024)


class CodecError(ValueError):
    """The blob is not what it must be, or the values cannot be encoded; the message says why."""


class Reader(Protocol):
    def read(self, size: int, /) -> bytes: ...


@dataclass(frozen=True)
class Header:
    """What a blob says of itself. `count`: values; `block`: values to a scale."""

    codec: Codec
    block: int
    count: int

    def pack(self) -> bytes:
        return _HEADER.pack(MAGIC, self.codec, 0, self.block, CHUNK, self.count)


def encode(
    vector: Chunks, count: int, codec: Codec, block: int | None = None
) -> Generator[bytes | memoryview]:
    """The blob of a vector of `count` values, piece by piece.

    A piece of float32 is its chunk's own memory: leave the chunk alone until the piece is used.

    Raises:
        CodecError: a value is not finite or beyond 2^100, the chunks are not as long as announced, or
            there is no such block.
    """
    header = Header(codec, BLOCK[codec] if block is None else block, count)
    _check_header(header)
    yield header.pack()
    given = iter(vector)
    for number, size in enumerate(sizes(count)):
        chunk = next(given, None)
        if chunk is None or chunk.size != size or chunk.dtype != np.float32:
            raise CodecError(f"chunk {number} of the vector is not {size} float32 values")
        body = _encode_chunk(chunk, header).data
        yield _CHUNK.pack(len(body), _check(header, number, body))
        yield body
    if next(given, None) is not None:
        raise CodecError(f"the vector has more than the {count} values announced")


def read_header(blob: Reader, count: int) -> Header:
    """The header of a blob that must hold `count` values. Allocates nothing.

    Raises:
        CodecError: it is no such blob.
    """
    raw = _take(blob, _HEADER.size, "header")
    magic, codec, zero, block, chunk, said = _HEADER.unpack(raw)
    if magic != MAGIC:
        raise CodecError(
            "not a pseudo-gradient of this version: the blob does not begin with its magic; "
            "do coordinator and site run the same release?"
        )
    if codec not in Codec.__members__.values() or zero != 0 or chunk != CHUNK:
        raise CodecError(f"the blob's header is damaged: codec {codec}, chunk {chunk}")
    header = Header(Codec(codec), block, said)
    _check_header(header)
    if said != count:
        raise CodecError(f"the blob holds {said} values where the fragment has {count}")
    return header


def decode(blob: Reader, count: int, *, strict: bool = False) -> Generator[Floats]:
    """The vector in a blob, chunk by chunk. Nothing is believed that the blob says of its own size.

    A chunk may be read-only.

    Args:
        count: how many values there must be.
        strict: refuse as well what decodes but what no encoder writes, so that a blob says its values
            and nothing beside them. Costs about half as much again; for what comes from elsewhere.

    Raises:
        CodecError: truncated, tampered with, longer than it says, or of another size.
    """
    header = read_header(blob, count)
    for number, size in enumerate(sizes(count)):
        stored, check = _CHUNK.unpack(_take(blob, _CHUNK.size, f"chunk {number}"))
        scales = _scales_size(header, size)
        least, most = _body_sizes(header, size)
        if not least <= stored <= most:
            raise CodecError(f"chunk {number} of the blob claims {stored} bytes: tampered with")
        body = _take(blob, stored, f"chunk {number}")
        if _check(header, number, body) != check:
            raise CodecError(f"chunk {number} of the blob is damaged: its check does not hold")
        parts = memoryview(body)[:scales], memoryview(body)[scales:]
        yield _decode_chunk(*parts, header, size, strict)
    if blob.read(1):
        raise CodecError("the blob goes on after its last chunk")


def blob_size(count: int, codec: Codec, block: int | None = None) -> int:
    """The bytes of a blob of `count` values; of a deflated one: at most."""
    header = Header(codec, BLOCK[codec] if block is None else block, count)
    _check_header(header)
    return _HEADER.size + sum(_CHUNK.size + _body_sizes(header, n)[1] for n in sizes(count))


def _check_header(header: Header) -> None:
    if not 0 < header.count <= MAX_COUNT:
        raise CodecError(f"a vector of {header.count} values cannot be")
    if header.block != 0 if header.codec is Codec.FLOAT32 else header.block not in _BLOCKS:
        raise CodecError(f"a block of {header.block} values cannot be; one of {_BLOCKS}")


def _check(header: Header, number: int, body: bytes | memoryview) -> bytes:
    hasher = blake3(header.pack() + struct.pack("<Q", number))
    return hasher.update(body).digest(length=16)


def _take(blob: Reader, size: int, what: str) -> bytes:
    parts = []
    missing = size
    while missing:
        part = blob.read(missing)
        if not part:
            raise CodecError(f"the blob is truncated in its {what}")
        parts.append(part)
        missing -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


# --- sizes ------------------------------------------------------------------------------------


def _scales_size(header: Header, size: int) -> int:
    return 2 * -(-size // header.block) if header.block else 0


def _codes_size(header: Header, size: int) -> int:
    """Bytes of the codes, before any deflating. Codes fill their last block."""
    if header.codec is Codec.FLOAT32:
        return 4 * size
    padded = -(-size // header.block) * header.block
    return padded if header.codec is Codec.INT8 else padded // 2


def _body_sizes(header: Header, size: int) -> tuple[int, int]:
    """The least and the most bytes that a chunk's body may have."""
    scales, codes = _scales_size(header, size), _codes_size(header, size)
    if header.codec is Codec.INT4_DEFLATE:
        return scales + 1, scales + _deflated_at_most(codes)
    return scales + codes, scales + codes


def _deflated_at_most(size: int) -> int:
    return size + size // 1000 + 64  # stored blocks of deflate cost 5 bytes in 16 KiB, at most


# --- a chunk ----------------------------------------------------------------------------------


def _encode_chunk(chunk: Floats, header: Header) -> NDArray[np.uint8]:
    """The body: scales and codes."""
    if header.codec is Codec.FLOAT32:
        if not np.isfinite(chunk).all():
            raise CodecError("the vector holds values that are not finite")
        return np.ascontiguousarray(chunk, dtype="<f4").view(np.uint8)
    border = _scales_size(header, chunk.size)
    body = np.empty(border + _codes_size(header, chunk.size), np.uint8)
    scales, codes = body[:border].view("<u2"), body[border:]
    blocks = done = 0
    for tile in tiles(chunk.size, _TILE):
        found, steps = _quantise(_whole_blocks(chunk[tile], header.block))
        packed = steps.view(np.uint8) if header.codec is Codec.INT8 else _to_nibbles(steps)
        scales[blocks : blocks + found.size] = found
        codes[done : done + packed.size] = packed.reshape(-1)
        blocks, done = blocks + found.size, done + packed.size
    if header.codec is Codec.INT4_DEFLATE:
        return np.frombuffer(body[:border].tobytes() + _deflate(codes.data), np.uint8)
    return body


def _whole_blocks(values: Floats, block: int) -> Floats:
    over = values.size % block
    if over:
        values = np.concatenate([values, np.zeros(block - over, np.float32)])
    return values.reshape(-1, block)


def _quantise(blocks: Floats) -> tuple[NDArray[np.uint16], NDArray[np.int8]]:
    """Scales (the upper half of a float32, rounded up) and steps in [-127, 127] of some blocks."""
    # As integers, which order floats without a sign as floats do, and many times faster.
    largest = np.abs(blocks).view(np.int32).max(axis=1).view(np.float32)
    if not (largest < _HUGE).all():  # false for NaN, too
        raise CodecError("the vector holds values that are not finite, or beyond 2^100")
    bits = (largest / np.float32(127)).view(np.uint32)
    scales = ((bits + np.uint32(0xFFFF)) >> np.uint32(16)).astype(np.uint16)
    scales[largest < _TINY] = 0
    size = _widen(scales)
    inverse = np.divide(np.float32(1), size, out=np.zeros_like(size), where=size > 0)
    steps = blocks * inverse[:, None]
    np.rint(steps, out=steps)
    return scales, steps.astype(np.int8)


def _widen(scales: NDArray[np.uint16]) -> Floats:
    return (scales.astype(np.uint32) << np.uint32(16)).view(np.float32)


def _decode_chunk(
    scales: memoryview, codes: memoryview, header: Header, size: int, strict: bool
) -> Floats:
    if header.codec is Codec.FLOAT32:
        values = np.frombuffer(codes, "<f4").astype(np.float32, copy=False)
        if not np.isfinite(values).all():
            raise CodecError("the blob holds values that are not finite")
        return values
    factors = np.frombuffer(scales, "<u2").astype(np.uint16)
    if factors.size and int(factors.max()) >= _SCALE_END:
        raise CodecError("the blob holds a scale that is negative, not finite, or beyond 2^100")
    if header.codec is Codec.INT4_DEFLATE:
        codes = memoryview(_inflate(codes, _codes_size(header, size)))
    values = np.empty(factors.size * header.block, np.float32)
    for tile in tiles(values.size, _TILE):
        first = tile.start // header.block
        scale = factors[first : first + (tile.stop - tile.start) // header.block]
        _steps(codes, header, tile, values[tile], scale if strict else None)
        blocks = values[tile].reshape(-1, header.block)
        blocks *= _widen(scale)[:, None]
    if strict and values[size:].any():
        raise CodecError("the blob holds values behind its last, which no encoder writes")
    return values[:size]


#: The first scale that cannot be: that of a value of 2^100. Sign bit, infinities and NaN lie above.
_SCALE_END = (int((_HUGE / np.float32(127)).view(np.uint32)) >> 16) + 2
#: The first after zero that can be: that of a largest value of 2^-100.
_SCALE_LEAST = (int((_TINY / np.float32(127)).view(np.uint32)) + 0xFFFF) >> 16


def _steps(
    codes: memoryview, header: Header, tile: slice, out: Floats, scale: NDArray[np.uint16] | None
) -> None:
    """The steps of a tile, as floats; if its blocks' scales are given, they must fit those."""
    if header.codec is Codec.INT8:
        steps = np.frombuffer(codes, np.int8)[tile]
        if int(steps.min()) == -128:
            raise CodecError("the blob holds a step of -128, which no encoder writes")
        if scale is not None:
            # A scale is the largest value's 127th, rounded up by less than 2^-7: 126 or 127 steps.
            outermost = steps.view(np.uint8) - np.uint8(126) <= 4
            _check_blocks(outermost, steps, 0, scale)
        out[:] = steps
        return
    packed = np.frombuffer(codes, np.uint8)[tile.start // 2 : tile.stop // 2]
    if int(packed.max()) >= _UNUSED << 4 or (packed & _UNUSED == _UNUSED).any():
        raise CodecError("the blob holds the sixteenth code, which no encoder writes")
    if scale is not None:
        _check_blocks(np.take(_OUTERMOST, packed, mode="clip"), packed, _ZERO_PAIR, scale)
    np.take(_PAIRS, packed, out=out.view(np.uint64), mode="clip")  # unlike "raise", unbuffered


def _check_blocks(
    outermost: NDArray[np.bool_],
    codes: NDArray[np.int8] | NDArray[np.uint8],
    zero: int,
    scale: NDArray[np.uint16],
) -> None:
    """A block has a step at the end of its scale's range, or a scale of zero and only `zero` codes.

    Raises:
        CodecError: it is not so.
    """
    none = scale == 0
    words = outermost.view(np.uint64).reshape(scale.size, -1)  # eight flags at a time
    if (np.bitwise_or.reduce(words, axis=1) == 0)[~none].any():
        raise CodecError("the blob holds a scale that does not fit its block: no encoder writes it")
    if none.any() and (codes.reshape(scale.size, -1)[none] != zero).any():
        raise CodecError("the blob holds steps without a scale, which no encoder writes")
    if ((scale < _SCALE_LEAST) & ~none).any():
        raise CodecError("the blob holds a scale of less than 2^-100, which no encoder writes")


# --- four bits --------------------------------------------------------------------------------


def _nearest_codes() -> NDArray[np.uint8]:
    """For each step, as the byte that an int8 is, the code of the nearest level; of two, of the smaller."""
    steps = np.arange(256, dtype=np.uint8).view(np.int8).astype(np.int16)
    upper = _LEVELS[_ZERO:]
    nearest: NDArray[np.intp] = np.abs(np.abs(steps)[:, None] - upper[None, :]).argmin(axis=1)
    return (_ZERO + np.sign(steps) * nearest).astype(np.uint8)


def _packed_codes() -> NDArray[np.uint8]:
    """For each pair of steps, as the 16 bits that they are in memory, their byte of two codes."""
    pair = np.arange(1 << 16, dtype=np.uint16).view(np.uint8).reshape(-1, 2)
    codes = np.take(_nearest_codes(), pair)
    packed: NDArray[np.uint8] = codes[:, 0] | (codes[:, 1] << np.uint8(4))
    return packed


def _outermost() -> NDArray[np.bool_]:
    """For each byte of two codes, whether one of them is at the end of the range."""
    byte = np.arange(256)
    ends = np.array([True, *[False] * 13, True, False])
    either: NDArray[np.bool_] = ends[byte & 15] | ends[byte >> 4]
    return either


def _unpacked_levels() -> NDArray[np.uint64]:
    """For each byte of two codes, its two levels as float32, in one piece of memory."""
    byte = np.arange(256)
    levels = np.append(_LEVELS, 0).astype(np.float32)
    pairs = np.stack([levels[byte & 15], levels[byte >> 4]], axis=1)
    return np.frombuffer(pairs.tobytes(), np.uint64)


_PACKED = _packed_codes()
_OUTERMOST = _outermost()
_ZERO_PAIR = _ZERO << 4 | _ZERO
_PAIRS = _unpacked_levels()


def _to_nibbles(steps: NDArray[np.int8]) -> NDArray[np.uint8]:
    return np.take(_PACKED, steps.reshape(-1).view(np.uint16))


def _deflate(codes: memoryview) -> bytes:
    """Huffman codes alone: there are no repeats to look for."""
    packer = zlib.compressobj(6, zlib.DEFLATED, -15, 9, zlib.Z_HUFFMAN_ONLY)
    return packer.compress(codes) + packer.flush()


def _inflate(deflated: memoryview, size: int) -> bytes:
    """Exactly `size` bytes, and never more in memory, whatever the input unfolds to."""
    unpacker = zlib.decompressobj(-15)
    try:
        codes = unpacker.decompress(deflated, size + 1)
    except zlib.error as error:
        raise CodecError(f"the blob's codes cannot be inflated: {error}") from error
    if len(codes) != size or not unpacker.eof or unpacker.unused_data:
        raise CodecError("the blob's codes inflate to another size than its chunk has")
    return codes
