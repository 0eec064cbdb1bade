from __future__ import annotations

import hashlib
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ayni.transfer import TransferError, describe
from ayni.transfer.blocks import MAX_BLOCKS, block_count, block_length, block_size_for


@given(st.binary(max_size=100), st.integers(1, 40))
def test_a_file_is_described_block_by_block(data: bytes, block_size: int) -> None:
    described = describe(lambda: io.BytesIO(data), block_size=block_size)
    pieces = [data[i : i + block_size] for i in range(0, len(data), block_size)]
    assert described.size == len(data)
    assert described.sha256 == hashlib.sha256(data).hexdigest()
    assert list(described.blocks) == [hashlib.sha256(p).hexdigest() for p in pieces]
    assert len(pieces) == block_count(len(data), block_size)
    assert [len(p) for p in pieces] == [
        block_length(n, len(data), block_size) for n in range(len(pieces))
    ]


@pytest.mark.parametrize("size", [0, 1, 10 << 30, 100 << 30, 1 << 40, 4 << 40])
def test_no_manifest_has_too_many_blocks(size: int) -> None:
    assert block_count(size, block_size_for(size)) <= MAX_BLOCKS


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(TransferError, match="nothing"):
        describe(tmp_path / "nothing")
    with pytest.raises(TransferError):
        describe(tmp_path)
