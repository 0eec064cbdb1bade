"""What a job takes of the disk, and when that is too much."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ayni.agent.supervisor import disk
from ayni.agent.supervisor.disk import SPARE, Room

MIB = 1 << 20


class Disk:
    """How much is free, as the test wants it; and how often a folder was walked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.free = SPARE + 1000 * MIB
        self.used = 0
        self.walks = 0
        monkeypatch.setattr(disk, "free", lambda folder: self.free)
        monkeypatch.setattr(disk, "measure", self._measure)

    def _measure(self, folder: str) -> int:
        self.walks += 1
        return self.used

    def grow(self, *, job: int = 0, others: int = 0) -> None:
        self.used += job
        self.free -= job + others


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


def test_a_folder_is_not_walked_while_the_disk_shows_that_it_need_not_be(
    site: Disk, tmp_path: Path
) -> None:
    room = Room(str(tmp_path), 100 * MIB, 10 * MIB)
    site.grow(job=50 * MIB, others=40 * MIB)
    assert room.over(()) is None
    assert site.walks == 0
    assert room.headroom == 10 * MIB


def test_what_others_write_is_not_held_against_a_job(site: Disk, tmp_path: Path) -> None:
    room = Room(str(tmp_path), 100 * MIB, 10 * MIB)
    site.grow(job=5 * MIB, others=500 * MIB)
    assert room.over(()) is None
    assert site.walks == 1
    site.grow(job=90 * MIB)
    assert room.over(()) is None
    site.grow(job=10 * MIB)
    assert room.over(()) == (105 * MIB, 100 * MIB)


def test_when_the_disk_is_nearly_full_a_job_keeps_what_it_is_sure_of(
    site: Disk, tmp_path: Path
) -> None:
    modest = Room(str(tmp_path), 100 * MIB, 60 * MIB)
    large = Room(str(tmp_path), 100 * MIB, 10 * MIB)
    site.grow(job=50 * MIB)
    assert large.over(()) is None
    site.grow(others=960 * MIB)
    assert site.free < SPARE
    assert large.over(()) == (50 * MIB, 10 * MIB)
    assert modest.over(()) is None
    assert modest.headroom == 0


def test_files_that_no_folder_names_are_counted_while_they_are_open(tmp_path: Path) -> None:
    path = tmp_path / "hidden"
    with path.open("wb") as file:
        file.write(b"x" * MIB)
        file.flush()
        device = os.fstat(file.fileno()).st_dev
        before = disk.unnamed([os.getpid()], device)
        path.unlink()
        assert disk.unnamed([os.getpid(), 1 << 30], device) - before >= MIB
