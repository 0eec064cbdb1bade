"""What a site brings, in its volume."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest

from ayni.lm.outer.codec import Codec, CodecError, decode
from ayni.lm.outgoing import Outgoing, base

TO, OTHER = base("part-0", 3, "ab" * 16), base("part-1", 3, "cd" * 16)


def vector(value: float = 1.0) -> list[np.ndarray]:
    return [np.full(5, value, np.float32)]


def test_what_is_encoded_to_a_base_is_there_for_a_successor(tmp_path: Path) -> None:
    made = Outgoing(tmp_path, Codec.FLOAT32).encode(TO, vector(), 5)
    found = Outgoing(tmp_path, Codec.FLOAT32).find(TO)
    assert found == made and found.size == made.path.stat().st_size
    with found.path.open("rb") as blob:
        assert np.concatenate(list(decode(blob, 5))).tolist() == [1.0] * 5


def test_to_one_base_the_first_counts(tmp_path: Path) -> None:
    """Where training is not the same to the bit, a successor must not say something else."""
    outgoing = Outgoing(tmp_path, Codec.FLOAT32)
    first = outgoing.encode(TO, vector(), 5)
    assert outgoing.encode(TO, vector(2.0), 5) == first
    assert outgoing.encode(OTHER, vector(2.0), 5) != first


def test_what_no_checkpoint_needs_is_forgotten(tmp_path: Path) -> None:
    outgoing = Outgoing(tmp_path, Codec.FLOAT32)
    for to in (TO, OTHER):
        outgoing.encode(to, vector(), 5)
    outgoing.sweep({OTHER})
    assert outgoing.find(TO) is None and outgoing.find(OTHER) is not None


def test_what_was_taken_is_remembered_until_the_run_is_begun_anew(tmp_path: Path) -> None:
    outgoing = Outgoing(tmp_path, Codec.FLOAT32)
    outgoing.encode(TO, vector(), 5)
    outgoing.taken(TO)
    outgoing.taken(OTHER)
    again = Outgoing(tmp_path, Codec.FLOAT32)
    assert again.was_taken(TO) and again.was_taken(OTHER)
    again.forget("part-0")
    assert not again.was_taken(TO) and again.find(TO) is None and again.was_taken(OTHER)


def test_a_memory_that_is_damaged_only_means_that_it_is_said_again(tmp_path: Path) -> None:
    (tmp_path / "sent").write_text("3 abc")
    assert not Outgoing(tmp_path, Codec.FLOAT32).was_taken(TO)


def test_what_a_killed_process_left_half_goes_after_an_hour(tmp_path: Path) -> None:
    folder = tmp_path / "outgoing"
    Outgoing(tmp_path, Codec.FLOAT32)
    for name, age in ((".part-old", 7200), (".part-new", 0)):
        (folder / name).write_bytes(b"half")
        os.utime(folder / name, (time.time() - age,) * 2)
    Outgoing(tmp_path, Codec.FLOAT32)
    assert [path.name for path in folder.iterdir()] == [".part-new"]


def test_what_is_not_finite_is_not_encoded(tmp_path: Path) -> None:
    outgoing = Outgoing(tmp_path, Codec.FLOAT32)
    with pytest.raises(CodecError):
        outgoing.encode(TO, vector(float("nan")), 5)
    assert outgoing.find(TO) is None
