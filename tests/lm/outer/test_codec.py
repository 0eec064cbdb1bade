"""Values become bytes and come back; what is not such a blob is refused before anything is allocated."""

from __future__ import annotations

import hashlib
import io
import struct
import tracemalloc

import numpy as np
import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ayni.lm.outer.blocks import CHUNK, TILE, chunks
from ayni.lm.outer.codec import (
    BLOCK,
    MAGIC,
    Codec,
    CodecError,
    Header,
    blob_size,
    decode,
    encode,
    read_header,
)

CODED = [Codec.INT8, Codec.INT4, Codec.INT4_DEFLATE]
HEADER, CHECK = 24, 20


def blob(vector: np.ndarray, codec: Codec, block: int | None = None) -> bytes:
    return b"".join(encode(chunks(vector), vector.size, codec, block))


def back(data: bytes, count: int) -> np.ndarray:
    return np.concatenate(list(decode(io.BytesIO(data), count)))


def laplace(size: int, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).laplace(size=size) * 1e-3).astype(np.float32)


def values(least: float = -(2.0**90)) -> st.SearchStrategy[np.ndarray]:
    floats = st.floats(least, 2.0**90, width=32, allow_subnormal=True)
    return st.integers(1, 700).flatmap(lambda n: arrays(np.float32, n, elements=floats))


@pytest.mark.parametrize("size", [1, 63, 64, 129, TILE + 1, CHUNK, CHUNK + 1, CHUNK + TILE + 65])
@pytest.mark.parametrize("codec", list(Codec))
def test_any_length_comes_back_in_its_length(codec: Codec, size: int) -> None:
    vector = laplace(size)
    found = back(blob(vector, codec), size)
    assert found.shape == vector.shape and found.dtype == np.float32
    error = float(np.square(found - vector).sum() / np.square(vector).sum())
    assert error <= {Codec.FLOAT32: 0, Codec.INT8: 2e-4}.get(codec, 0.03)


@given(values())
def test_float32_is_exact(vector: np.ndarray) -> None:
    assert back(blob(vector, Codec.FLOAT32), vector.size).tobytes() == vector.tobytes()


@given(values(), st.sampled_from([32, 64, 128]))
def test_an_error_is_within_half_a_step_of_its_block(vector: np.ndarray, block: int) -> None:
    found = back(blob(vector, Codec.INT8, block), vector.size)
    for start in range(0, vector.size, block):
        part = slice(start, start + block)
        largest = float(np.abs(vector[part]).max())
        step = largest / 127 * (1 + 2**-7) if largest >= 2.0**-100 else 2 * largest
        assert np.abs(found[part].astype(float) - vector[part]).max() <= step / 2 * (1 + 1e-5)


@given(values(), st.sampled_from(CODED))
def test_what_was_decoded_is_not_subnormal_and_keeps_its_sign(
    vector: np.ndarray, codec: Codec
) -> None:
    found = back(blob(vector, codec), vector.size)
    assert ((found == 0) | (np.abs(found) >= np.finfo(np.float32).tiny)).all()
    assert (found * np.sign(vector) >= 0).all()


@given(values(), st.sampled_from(CODED))
def test_encoding_is_symmetric(vector: np.ndarray, codec: Codec) -> None:
    """No bias: what is encoded of −x is −(what is encoded of x)."""
    mirrored = back(blob(-vector, codec), vector.size)
    assert (mirrored == -back(blob(vector, codec), vector.size)).all()


def test_known_bytes() -> None:
    """Recorded once; whoever encodes the same values anywhere gets these. Only deflate is zlib's own."""
    steps = np.arange(70_001, dtype=np.uint32) * np.uint32(2654435761)
    a = (steps >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-24) - np.float32(0.5)
    a = a * a * a
    hashes = {c.name: hashlib.sha256(blob(a, c)).hexdigest()[:16] for c in (Codec.INT8, Codec.INT4)}
    assert hashes == {"INT8": "1021ca42156fe30e", "INT4": "d8aa035acf39538e"}
    plain = b"".join(encode(chunks(a), a.size, Codec.INT4, BLOCK[Codec.INT4_DEFLATE]))
    assert (back(blob(a, Codec.INT4_DEFLATE), a.size) == back(plain, a.size)).all()


def test_four_bits_cost_what_the_documentation_says() -> None:
    size = 1 << 20
    vector = laplace(size)
    bits = {codec: 8 * len(blob(vector, codec)) / size for codec in CODED}
    assert 8.12 < bits[Codec.INT8] < 8.13
    assert 4.25 <= bits[Codec.INT4] < 4.26
    assert bits[Codec.INT4_DEFLATE] < 3.6
    for codec in CODED:
        assert len(blob(vector, codec)) <= blob_size(size, codec)
    assert len(blob(vector, Codec.INT4)) == blob_size(size, Codec.INT4)


def test_zeros_stay_zeros() -> None:
    for codec in CODED:
        assert not back(blob(np.zeros(500, np.float32), codec), 500).any()


def test_deflated_noise_stays_within_what_a_reader_allows() -> None:
    rng = np.random.default_rng(1)
    vector = np.sign(rng.standard_normal(300_000)).astype(np.float32) * rng.choice(
        np.array([0, 10, 21, 33, 49, 67, 90, 121], np.float32), 300_000
    )
    assert (back(blob(vector, Codec.INT4_DEFLATE), vector.size) != 0).any()


@pytest.mark.parametrize("codec", list(Codec))
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_not_encoded(codec: Codec, bad: float) -> None:
    vector = laplace(1000)
    vector[777] = bad
    with pytest.raises(CodecError, match="not finite"):
        blob(vector, codec)


def test_a_vector_of_another_length_than_announced_is_not_encoded() -> None:
    for size in (99, 101):
        with pytest.raises(CodecError, match="100 float32"):
            list(encode(chunks(np.zeros(size, np.float32)), 100, Codec.INT8))
    longer = [np.zeros(100, np.float32), np.zeros(1, np.float32)]
    with pytest.raises(CodecError, match="more than the 100"):
        list(encode(longer, 100, Codec.INT8))
    with pytest.raises(CodecError, match="block of 48"):
        blob(np.zeros(100, np.float32), Codec.INT8, 48)


@pytest.mark.parametrize("codec", list(Codec))
def test_a_truncated_blob_is_refused_wherever_it_ends(codec: Codec) -> None:
    whole = blob(laplace(300), codec)
    for end in (
        0,
        1,
        HEADER - 1,
        HEADER,
        HEADER + 1,
        HEADER + CHECK,
        len(whole) // 2,
        len(whole) - 1,
    ):
        with pytest.raises(CodecError, match="truncated"):
            back(whole[:end], 300)
    with pytest.raises(CodecError, match="goes on"):
        back(whole + b"\0", 300)


@given(st.data())
def test_a_changed_bit_is_found(data: st.DataObject) -> None:
    codec = data.draw(st.sampled_from(list(Codec)))
    whole = bytearray(blob(laplace(200), codec))
    bit = data.draw(st.integers(0, 8 * len(whole) - 1))
    whole[bit // 8] ^= 1 << bit % 8
    with pytest.raises(CodecError):
        back(bytes(whole), 200)


def test_chunks_of_one_blob_do_not_change_places_nor_blobs() -> None:
    """Each check binds header and number."""
    size = 2 * CHUNK
    whole = blob(np.tile(laplace(64), size // 64), Codec.INT4)
    piece = (len(whole) - HEADER) // 2
    first, second = whole[HEADER : HEADER + piece], whole[HEADER + piece :]
    assert first[CHECK:] == second[CHECK:] and first[:CHECK] != second[:CHECK]
    with pytest.raises(CodecError, match="chunk 0 of the blob is damaged"):
        back(whole[:HEADER] + second + first, size)


def forged(body: bytes, header: Header, stored: int | None = None) -> bytes:
    """A blob by somebody who knows the format: its check holds."""
    check = blake3(header.pack() + struct.pack("<Q", 0)).update(body)
    size = len(body) if stored is None else stored
    return header.pack() + struct.pack("<I16s", size, check.digest(length=16)) + body


@pytest.mark.parametrize("scale", [0x7F80, 0x7FC0, 0xFF80, 0xBF80, 0x8000, 0x7F7F])
def test_a_forged_scale_is_refused(scale: int) -> None:
    body = struct.pack("<H", scale) + bytes([1]) * 128
    with pytest.raises(CodecError, match="scale"):
        back(forged(body, Header(Codec.INT8, 128, 100)), 100)


def test_codes_that_no_encoder_writes_are_refused() -> None:
    one = struct.pack("<H", 0x3F80)
    with pytest.raises(CodecError, match="-128"):
        back(forged(one + b"\x80" + bytes(127), Header(Codec.INT8, 128, 100)), 100)
    for byte in (b"\xf0", b"\x0f"):
        with pytest.raises(CodecError, match="sixteenth"):
            back(forged(one + byte + bytes(31), Header(Codec.INT4, 64, 60)), 60)
    nan = np.full(3, np.nan, "<f4").tobytes()
    with pytest.raises(CodecError, match="not finite"):
        back(forged(nan, Header(Codec.FLOAT32, 0, 3)), 3)


def test_a_bomb_does_not_unfold() -> None:
    import zlib

    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = packer.compress(bytes(64 << 20)) + packer.flush()
    header = Header(Codec.INT4_DEFLATE, 64, CHUNK)
    body = bytes(2 * CHUNK // 64) + bomb
    tracemalloc.start()
    with pytest.raises(CodecError, match="another size"):
        back(forged(body, header), CHUNK)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 24 << 20


@pytest.mark.parametrize("claimed", [0, 1, 2**32 - 1])
@pytest.mark.parametrize("codec", list(Codec))
def test_a_size_that_cannot_be_is_refused_unread(codec: Codec, claimed: int) -> None:
    header = Header(codec, BLOCK[codec], 100)
    with pytest.raises(CodecError, match="claims"):
        back(forged(b"", header, claimed), 100)


@pytest.mark.parametrize("count", [0, 1 << 62, 2**64 - 1])
def test_a_count_that_cannot_be_is_refused(count: int) -> None:
    raw = struct.pack("<8sBBHIQ", MAGIC, 1, 0, 128, CHUNK, count)
    with pytest.raises(CodecError, match="cannot be"):
        read_header(io.BytesIO(raw), 100)


def test_a_blob_of_another_kind_is_refused_with_a_remedy() -> None:
    with pytest.raises(CodecError, match="same release"):
        back(b"PK\x03\x04" + bytes(100), 100)
    with pytest.raises(CodecError, match="200 values where the fragment has 100"):
        back(blob(laplace(200), Codec.INT8), 100)
    for codec, zero, block, chunk in (
        (9, 0, 64, CHUNK),
        (1, 7, 64, CHUNK),
        (1, 0, 64, 1),
        (1, 0, 5, CHUNK),
    ):
        raw = struct.pack("<8sBBHIQ", b"AYNIPG\x01\n", codec, zero, block, chunk, 100)
        with pytest.raises(CodecError):
            read_header(io.BytesIO(raw), 100)


def test_a_reader_may_give_a_few_bytes_at_a_time() -> None:
    class Dripping(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            return super().read(min(7, size) if size and size > 0 else size)

    vector = laplace(500)
    found = np.concatenate(list(decode(Dripping(blob(vector, Codec.INT8)), 500)))
    assert (found == back(blob(vector, Codec.INT8), 500)).all()


def test_memory_is_that_of_a_chunk_however_long_the_vector() -> None:
    count = 6 * CHUNK
    chunk = laplace(CHUNK)
    tracemalloc.start()
    pieces = encode((chunk for _ in range(6)), count, Codec.INT4)

    class Stream:
        held = b""

        def read(self, size: int, /) -> bytes:
            if not self.held:
                self.held = next(pieces, b"")
            part, self.held = self.held[:size], self.held[size:]
            return part

    for _ in decode(Stream(), count):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * 4 * CHUNK


# --- nothing beside the values ----------------------------------------------------------------


def strictly(data: bytes, count: int) -> np.ndarray:
    return np.concatenate(list(decode(io.BytesIO(data), count, strict=True)))


def changed(data: bytes, count: int, change: dict[int, int]) -> bytes:
    """A blob of one chunk with other bytes in its body, and a check that holds."""
    _, codec, _, block, _, _ = struct.unpack("<8sBBHIQ", data[:HEADER])
    body = bytearray(data[HEADER + CHECK :])
    for at, byte in change.items():
        body[at] = byte
    return forged(bytes(body), Header(Codec(codec), block, count))


EXTREME = st.one_of(
    st.just(0.0),
    st.floats(-(2.0**99), 2.0**99, width=32),
    st.floats(-(2.0**-95), 2.0**-95, width=32),
    st.floats(-1, 1, width=32),
)


@given(arrays(np.float32, st.integers(1, 300), elements=EXTREME), st.sampled_from(CODED))
def test_what_an_encoder_writes_is_read_strictly(vector: np.ndarray, codec: Codec) -> None:
    data = blob(vector, codec)
    assert strictly(data, vector.size).tobytes() == back(data, vector.size).tobytes()


@pytest.mark.parametrize(
    ("codec", "vector", "change"),
    [
        # a block of 128 zeros: a scale of 2 bytes, then its steps
        (Codec.INT8, np.zeros(128), {2: 65, 3: 66}),
        (Codec.INT4, np.zeros(64), {2: 0x76}),
        # behind the last of three values
        (Codec.INT8, np.ones(3), {2 + 3: 1}),
        (Codec.INT8, np.ones(3), {2 + 127: 127}),
        (Codec.INT4, np.ones(2), {2 + 1: 0x78}),
        # another scale than the largest value's
        (Codec.INT8, np.ones(128), dict.fromkeys(range(2, 130), 100)),
        (Codec.INT4, np.ones(64), dict.fromkeys(range(2, 34), 221)),
        (Codec.INT8, np.ones(128), {0: 0, 1: 0}),
        (Codec.INT8, np.ones(128), {0: 1, 1: 0}),
    ],
)
def test_bits_that_say_no_value_are_refused(
    codec: Codec, vector: np.ndarray, change: dict[int, int]
) -> None:
    data = blob(vector.astype(np.float32), codec)
    assert changed(data, vector.size, {}) == data
    with pytest.raises(CodecError, match="no encoder writes"):
        strictly(changed(data, vector.size, change), vector.size)
