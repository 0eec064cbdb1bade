"""Disks that are full, read-only, away or do not answer: each is named, with its remedy."""

from __future__ import annotations

import errno
import threading
from pathlib import Path

import pytest

from ayni.agent import disks
from ayni.agent.disks import SHARED, STATE, Disks, recognize
from ayni.errors import UserError


def full(*args: object) -> int:
    raise OSError(errno.EDQUOT, "Disk quota exceeded")


def test_folders_in_order_are_no_fault_and_nothing_is_left_there(tmp_path: Path) -> None:
    found = Disks({STATE: tmp_path})
    found.look()
    assert found.faults() == []
    assert list(tmp_path.iterdir()) == []


def test_a_shared_folder_that_is_not_mounted_is_told_until_it_is(tmp_path: Path) -> None:
    found = Disks({SHARED: tmp_path / "scratch"})
    found.look()
    [fault] = found.faults()
    assert fault.code == "shared"
    assert "mounted" in fault.remedy
    (tmp_path / "scratch").mkdir()
    found.look()
    assert found.faults() == []


def test_a_full_disk_is_told_apart_from_one_that_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "write_bytes", full)
    found = Disks({SHARED: tmp_path})
    found.look()
    [fault] = found.faults()
    assert (fault.code, "quota" in fault.message) == ("disk", True)


def test_a_disk_that_is_nearly_full_is_told_before_nothing_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disks.disk, "free", lambda folder: disks.LEAST - 1)
    found = Disks({STATE: tmp_path})
    found.look()
    [fault] = found.faults()
    assert fault.code == "disk"
    assert "state folder" in fault.message


def test_a_disk_that_does_not_answer_is_told_while_the_look_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, inside, answer = [0.0], threading.Event(), threading.Event()

    def hang(folder: Path) -> int:
        inside.set()
        answer.wait(60)
        return 1 << 40

    monkeypatch.setattr(disks.disk, "free", hang)
    found = Disks({SHARED: tmp_path}, lambda: now[0])
    thread = threading.Thread(target=found.look)
    thread.start()
    try:
        assert inside.wait(60)
        assert found.faults() == [], "it may only be slow"
        now[0] = 61.0
        [fault] = found.faults()
        assert (fault.code, "does not answer" in fault.message) == ("shared", True)
    finally:
        answer.set()
        thread.join()
    assert found.faults() == []


# --- the shared folder of before


def test_a_shared_folder_is_known_again(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    for _ in range(2):
        recognize(tmp_path / "state", tmp_path / "scratch")


def test_where_the_shared_disk_is_not_mounted_no_agent_begins_anew(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    recognize(tmp_path / "state", tmp_path / "scratch")
    (tmp_path / "scratch").rename(tmp_path / "away")
    with pytest.raises(UserError, match="mounted"):
        recognize(tmp_path / "state", tmp_path / "scratch")
    assert not (tmp_path / "scratch").exists()
    (tmp_path / "away").rename(tmp_path / "scratch")
    recognize(tmp_path / "state", tmp_path / "scratch")


def test_another_shared_folder_is_told_from_the_one_of_before(tmp_path: Path) -> None:
    for name in ("state", "other"):
        (tmp_path / name).mkdir()
    recognize(tmp_path / "state", tmp_path / "scratch")
    recognize(tmp_path / "other", tmp_path / "elsewhere")
    with pytest.raises(UserError, match="not the shared folder of before"):
        recognize(tmp_path / "state", tmp_path / "elsewhere")


def test_an_agent_whose_own_folder_is_new_takes_the_shared_one_as_it_is(tmp_path: Path) -> None:
    for name in ("state", "anew"):
        (tmp_path / name).mkdir()
        recognize(tmp_path / name, tmp_path / "scratch")
    assert (tmp_path / "state/shared.mark").read_text() == (
        tmp_path / "anew/shared.mark"
    ).read_text()
