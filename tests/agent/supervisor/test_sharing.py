"""Folders that the agent shares with a local user."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from ayni.agent.supervisor import files, sharing


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_a_job_s_folder_is_handed_over_with_all_that_was_put_there(tmp_path: Path) -> None:
    folder, cached = tmp_path / "t-1", tmp_path / "cached"
    (folder / "root" / "data").mkdir(parents=True)
    (folder / "root" / "data" / "in").write_text("x")
    (folder / "root" / "data" / "in").chmod(0o640)
    (folder / "root" / "tool").touch(0o700)
    cached.touch(0o444)
    (folder / "inputs").mkdir(mode=0o755)
    (folder / "inputs" / "0").hardlink_to(cached)
    (folder / "staged.json").touch(0o640)
    (folder / "root" / "bin").symlink_to(cached)
    sharing.hand_over(str(folder), os.getgid())
    assert mode(folder) == sharing.ADD
    assert mode(folder / "root" / "data") & 0o770 == 0o770
    assert mode(folder / "root" / "data" / "in") == 0o660
    assert mode(folder / "root" / "tool") == 0o770
    assert mode(cached) == 0o444
    assert (mode(folder / "inputs"), mode(folder / "staged.json")) == (0o755, 0o640), "to be read"
    assert sharing.handed_to(str(folder)) == os.getgid()
    assert sharing.handed_to(str(folder / "root")) is None


def test_what_the_user_put_in_the_place_of_a_file_is_not_opened_up(tmp_path: Path) -> None:
    """The user may be there before the folder is handed over, and links are quick to make."""
    folder, key = tmp_path / "t-1", tmp_path / "site.key"
    (folder / "root").mkdir(parents=True)
    key.touch(0o600)
    (folder / "root" / "in").symlink_to(key)
    (folder / "root" / "hard").hardlink_to(key)
    here = os.open(folder / "root", os.O_RDONLY)
    for name in ("in", "hard"):
        sharing._share(name, here, os.getgid(), 0o700)
    os.close(here)
    sharing.hand_over(str(folder), os.getgid())
    assert mode(key) == 0o600


def test_what_is_the_user_s_own_is_handed_over_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "t-1" / "root").mkdir(parents=True)
    theirs = tmp_path / "t-1" / "root" / "in"
    theirs.touch(0o600)
    monkeypatch.setattr(sharing.os, "geteuid", lambda: os.getuid() + 1)
    sharing.hand_over(str(tmp_path / "t-1"), os.getgid())
    assert mode(theirs) == 0o600


def test_a_folder_within_a_shared_one_is_shared_and_within_another_is_not(tmp_path: Path) -> None:
    shared, own = tmp_path / "shared", tmp_path / "own"
    sharing.make(str(shared), sharing.READ, os.getgid())
    own.mkdir(mode=0o755)
    for folder in (shared, own):
        sharing.make_alike(str(folder / "pool"))
        sharing.make_alike(str(folder / "pool"))
    assert mode(shared / "pool") == sharing.WRITE
    assert mode(own / "pool") & 0o020 == 0


def test_the_agent_opens_no_file_of_its_own_in_the_place_of_a_user_s(tmp_path: Path) -> None:
    """What a local user may put where the agent reads and writes."""
    key = tmp_path / "site.key"
    key.write_text('{"secret": 1}')
    folder = tmp_path / "t-1"
    folder.mkdir()
    (folder / files.EXIT).symlink_to(key)
    (folder / (files.EXIT + ".part")).symlink_to(key)
    try:
        files.read_exit(str(folder))
    except OSError as error:
        assert error.filename == str(folder / files.EXIT)
    else:
        raise AssertionError("a link was followed")
    files.write_exit(str(folder), files.decided("t-1", "lost", None, "gone"))
    assert key.read_text() == '{"secret": 1}'
    found = files.read_exit(str(folder))
    assert found is not None and found["message"] == "gone"


def test_a_fifo_in_the_place_of_a_file_keeps_nobody_waiting(tmp_path: Path) -> None:
    for name in (files.EXIT, files.EXIT + ".part"):
        os.mkfifo(tmp_path / name)
    try:
        files.read_exit(str(tmp_path))
    except OSError as error:
        assert "no regular file" in str(error)
    files.write_exit(str(tmp_path), files.decided("t-1", "lost", None, "gone"))
    assert files.read_exit(str(tmp_path)) is not None


def test_a_claim_that_names_no_batch_job_is_nobody_s(tmp_path: Path) -> None:
    claim = tmp_path / files.CLAIM
    for text in ("x", "1:2:3:--help.0", "1:2:3:7.1;id", ":::", "1:2:3:" + "9" * 30 + ".0"):
        claim.symlink_to(text)
        assert files.claim_tag(str(tmp_path)) == files.NOBODY
        claim.unlink()
    claim.touch()
    assert files.claim_tag(str(tmp_path)) == files.NOBODY
    claim.unlink()
    claim.symlink_to("1:2:3:12_4.1")
    assert files.claim_tag(str(tmp_path)) == "12_4.1"
