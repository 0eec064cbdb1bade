"""The files by which all know where a job stands."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ayni.agent.supervisor import files


def test_a_job_is_claimed_once(tmp_path):
    assert files.claim(str(tmp_path))
    assert not files.claim(str(tmp_path))
    assert files.claimed_by(str(tmp_path)) == files.this_process()


def test_of_many_that_claim_at_once_one_succeeds(tmp_path):
    children = []
    source, target = os.pipe()
    for _ in range(8):
        pid = os.fork()
        if pid == 0:
            os.read(source, 1)
            os._exit(0 if files.claim(str(tmp_path)) else 1)
        children.append(pid)
    os.write(target, b"x" * 8)
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
    os.close(source)
    os.close(target)
    assert sorted(codes) == [0] + [1] * 7


def test_nobody_has_claimed_a_new_job(tmp_path):
    assert files.claimed_by(str(tmp_path)) is None


def test_a_process_is_alive_until_it_ends():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    process = files.Process(child.pid, files.start_ticks(child.pid) or 0, files.boot_id())
    assert files.is_alive(process)
    child.communicate(b"\n")
    assert not files.is_alive(process)


def test_another_process_with_the_same_number_is_not_taken_for_it():
    me = files.this_process()
    assert files.is_alive(me)
    assert not files.is_alive(me._replace(start=me.start + 1))
    assert not files.is_alive(me._replace(boot="another"))


def test_a_zombie_is_not_alive():
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert files.start_ticks(pid) is None
    os.waitpid(pid, 0)


def test_the_exit_file_takes_the_room_that_was_kept_for_it(tmp_path):
    files.claim(str(tmp_path))
    kept = (tmp_path / "exit.json.part").stat()
    assert kept.st_size == 16 * 1024
    files.write_exit(str(tmp_path), {"id": "x"})
    assert files.read_exit(str(tmp_path)) == {"id": "x"}
    assert (tmp_path / "exit.json").stat().st_ino == kept.st_ino


@pytest.mark.parametrize("text", ["", "{", '{"id": "x"', "\0\0"])
def test_a_file_that_was_never_finished_is_none(tmp_path, text):
    (tmp_path / "exit.json").write_text(text)
    assert files.read_exit(str(tmp_path)) is None


def read(base, relative):
    fd = files.open_beneath(str(base), relative, os.O_RDONLY)
    try:
        return os.read(fd, 100)
    finally:
        os.close(fd)


def test_a_file_beneath_is_opened(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").write_text("x")
    assert read(tmp_path, "a/b") == read(tmp_path, "./a//b") == b"x"


@pytest.mark.parametrize("path", ["link", "folder/b", "folder/../a/b", "../a", "", "."])
def test_a_way_out_is_not_taken(tmp_path, path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").write_text("x")
    base = tmp_path / "base"
    base.mkdir()
    (base / "link").symlink_to(tmp_path / "a" / "b")
    (base / "folder").symlink_to(tmp_path / "a")
    with pytest.raises(OSError):
        read(base, path)


@given(st.text(alphabet="ab/.\\ ñ", max_size=20))
def test_whatever_is_opened_is_beneath(tmp_path_factory, relative):
    base = tmp_path_factory.mktemp("base")
    try:
        fd = files.open_beneath(
            str(base), relative, os.O_WRONLY | os.O_CREAT, (os.geteuid(), os.getegid())
        )
    except OSError:
        return
    path = str(Path(f"/proc/self/fd/{fd}").readlink())
    os.close(fd)
    assert path.startswith(f"{base}/")
