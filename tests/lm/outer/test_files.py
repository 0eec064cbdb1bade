"""Blobs in a folder are whole or not there."""

from __future__ import annotations

import errno
import os
from hashlib import sha256
from pathlib import Path

import pytest

from ayni.lm.outer import files
from ayni.lm.outer.files import FolderStore
from ayni.lm.outer.perform import BlobError


def put(store: FolderStore, data: bytes) -> str:
    with store.create() as out:
        out.write(data[:1])
        out.write(data[1:])
        return out.keep()


def test_what_was_kept_is_there_under_its_digest(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "blobs")
    ref = put(store, b"quinua")
    assert ref == sha256(b"quinua").hexdigest()
    with store.open(ref) as blob:
        assert blob.read() == b"quinua"
    assert put(store, b"quinua") == ref and [p.name for p in store.folder.iterdir()] == [ref]


def test_what_is_long_is_written_in_order_while_the_disk_takes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_FLUSH", 1000)
    pieces = [bytes([n]) * (n * 7 % 997) for n in range(256)]
    store = FolderStore(tmp_path)
    with store.create() as out:
        for piece in pieces:
            out.write(memoryview(piece))
        ref = out.keep()
    assert store.path(ref).read_bytes() == b"".join(pieces)
    assert ref == sha256(b"".join(pieces)).hexdigest()


def test_a_full_disk_is_told_by_the_next_piece_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, "_FLUSH", 1)
    monkeypatch.setattr(os, "fdatasync", full)
    store = FolderStore(tmp_path)
    with pytest.raises(OSError, match="No space"), store.create() as out:
        out.write(b"quinua")
        out.keep()
    assert not list(tmp_path.iterdir())


def test_a_file_that_came_is_taken_in_without_a_copy(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    aside = tmp_path / ".part-came"
    aside.write_bytes(b"quinua")
    node = aside.stat().st_ino
    ref = sha256(b"quinua").hexdigest()
    store.adopt(aside, ref)
    assert [(p.name, p.stat().st_ino) for p in tmp_path.iterdir()] == [(ref, node)]


def test_what_was_not_kept_leaves_nothing(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    with store.create() as out:
        out.write(b"half")
    with pytest.raises(RuntimeError), store.create() as out:
        out.write(b"half")
        raise RuntimeError
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "ref", ["../secret", "a" * 63, "A" * 64, "", "/etc/passwd", "a" * 64 + "\n"]
)
def test_what_is_no_address_is_no_path(tmp_path: Path, ref: str) -> None:
    with pytest.raises(BlobError, match="no blob's address"), FolderStore(tmp_path).open(ref):
        pass


def test_a_blob_that_is_not_there_is_named(tmp_path: Path) -> None:
    with (
        pytest.raises(BlobError, match="there is no blob 000"),
        FolderStore(tmp_path).open("0" * 64),
    ):
        pass


def test_a_sweep_spares_what_is_needed_and_what_is_new(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    kept, old = put(store, b"kept"), put(store, b"old")
    (tmp_path / ".part-left").write_bytes(b"by a killed process")
    assert store.sweep({kept}, older_than=0.0) == []
    assert store.sweep({kept}, older_than=1e12) == [".part-left", old]
    store.drop([old, kept])
    assert not list(tmp_path.iterdir())
