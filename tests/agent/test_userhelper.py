"""Staging as a local user: what the helper makes for the agent, and where it makes nothing.

In the place of sudo stands a program that starts the helper's own code as whoever runs the tests; the
real one, and two real users, are in tests/live/test_slurm_users.py.
"""

from __future__ import annotations

import json
import os
import stat
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ayni.agent import userhelper
from ayni.agent.localusers import LocalUser
from ayni.agent.staging.beneath import Root
from ayni.agent.staging.errors import StagingError
from ayni.agent.supervisor import helper, sharing
from ayni.agent.userhelper import AttemptMaker, Helper, HelperError, Stage

ME = LocalUser("ana", os.getuid(), os.getgid())


class Ground:
    """The agent's shared folder, with an attempt's folder in it, and a stage."""

    def __init__(self, folder: Path) -> None:
        self.shared = folder / "shared"
        self.root = self.attempt("t-1")
        self.log = folder / "starts"
        self.sudo = folder / "sudo"
        self.sudo.write_text(
            f"#!{sys.executable} -I\nimport socket, sys\n"
            f"sys.path.insert(0, {str(Path(helper.__file__).parent)!r})\nimport helper\n"
            f"open({str(self.log)!r}, 'a').write(' '.join(sys.argv[1:]) + '\\n')\n"
            f"helper.stage(socket.socket(fileno=0), {{'root': {str(self.shared)!r}}})\n"
        )
        self.sudo.chmod(0o755)
        self.stage = Stage(Helper(Path("/opt/ayni-helper"), str(self.sudo)), ME)

    def attempt(self, name: str) -> Path:
        root = self.shared / "work" / name / "root"
        root.mkdir(parents=True)
        return root

    def starts(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []

    def made(self) -> list[str]:
        return sorted(str(path.relative_to(self.shared)) for path in self.shared.rglob("*"))


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    found = Ground(tmp_path)
    yield found
    found.stage.close()


def test_folders_and_files_are_made_and_the_agent_writes_the_files(ground: Ground) -> None:
    with Root(ground.root, AttemptMaker(ground.stage, "t-1")) as root:
        root.make_folders("/data/runs")
        root.make_folders("/")
        with os.fdopen(root.create("/data/in/words.csv"), "wb") as file:
            file.write(b"words")
    assert (ground.root / "data" / "in" / "words.csv").read_bytes() == b"words"
    assert (ground.root / "data" / "runs").is_dir()
    for path, mode in (("data/in/words.csv", 0o664), ("data/in", 0o775), ("data", 0o775)):
        assert stat.S_IMODE((ground.root / path).stat().st_mode) == mode, "the agent's group may"
    assert ground.starts() == ["-n -u ana /opt/ayni-helper"], "one process for all of it"


def test_what_is_there_already_is_told_as_the_system_tells_it(ground: Ground) -> None:
    with Root(ground.root, AttemptMaker(ground.stage, "t-1")) as root:
        os.close(root.create("in"))
        with pytest.raises(FileExistsError):
            root.create("in")
        with pytest.raises(NotADirectoryError):
            root.make_folders("in/side")
    with pytest.raises(FileNotFoundError):
        ground.stage.ask({"attempt": "t-2", "make": "x"})


def test_no_link_is_followed_on_the_way(ground: Ground, tmp_path: Path) -> None:
    (ground.root / "up").symlink_to(tmp_path)
    (ground.root / "file").symlink_to(tmp_path / "new")
    (ground.shared / "work" / "t-2").symlink_to(tmp_path)
    (tmp_path / "root").mkdir()
    for attempt, path in (("t-1", "up/x"), ("t-1", "file"), ("t-2", "x")):
        with pytest.raises(OSError):
            ground.stage.ask({"attempt": attempt, "create": path})
    assert not (tmp_path / "x").exists()
    assert not (tmp_path / "new").exists()
    assert list((tmp_path / "root").iterdir()) == []


@pytest.mark.parametrize(
    "packet",
    [
        {"attempt": "t-1", "make": "../x"},
        {"attempt": "t-1", "make": "/x"},
        {"attempt": "t-1", "make": ""},
        {"attempt": "t-1", "make": "a//b"},
        {"attempt": "t-1", "make": "a/."},
        {"attempt": "t-1", "make": "a\0b"},
        {"attempt": "t-1", "make": "a" * 4096},
        {"attempt": "t-1", "make": "\ud800"},
        {"attempt": "t-1", "make": 1},
        {"attempt": "t-1", "open": "in"},
        {"attempt": "t-1", "create": "in", "mode": 511},
        {"attempt": "..", "make": "x"},
        {"attempt": "t-1/root", "make": "x"},
        {"attempt": ".failed", "make": "x"},
        {"attempt": "", "make": "x"},
        {"verb": "check"},
        ["t-1", "x"],
        "x",
        None,
    ],
)
def test_a_packet_that_asks_for_more_is_denied_and_the_next_is_served(
    ground: Ground, packet: Any
) -> None:
    before = ground.made()
    with pytest.raises(HelperError, match="must"):
        ground.stage.ask(packet)
    assert ground.made() == before
    ground.stage.ask({"attempt": "t-1", "make": "good"})
    assert len(ground.starts()) == 1


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(st.text(max_size=30), st.text(max_size=30))
def test_whatever_is_asked_nothing_is_made_but_in_an_attempt_s_root(
    ground: Ground, attempt: str, path: str
) -> None:
    data = json.dumps({"attempt": attempt, "create": path}).encode()
    try:
        [file] = helper._stage_one(data, {"root": str(ground.shared)})
        os.close(file)
    except (helper.Denied, OSError, ValueError):
        assert len(ground.made()) >= 3
    outside = [p for p in ground.made() if not p.startswith("work/t-1/root")]
    assert outside == ["work", "work/t-1"]


def test_nonsense_ends_nothing(ground: Ground) -> None:
    ground.stage.ask({"attempt": "t-1", "make": "a"})
    assert ground.stage._line is not None
    for data in (b"{", b"[" * 50_000, b"\xff"):
        ground.stage._line.send(data)
        assert b"error" in ground.stage._line.recv(1 << 16)
    ground.stage.ask({"attempt": "t-1", "make": "b"})


def test_many_threads_share_one_process(ground: Ground) -> None:
    def make(number: int) -> None:
        with os.fdopen(AttemptMaker(ground.stage, "t-1").create(["d", str(number)]), "w") as file:
            file.write(str(number))

    threads = [threading.Thread(target=make, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {p.name: p.read_text() for p in (ground.root / "d").iterdir()} == {
        str(number): str(number) for number in range(20)
    }
    assert len(ground.starts()) == 1


def test_a_process_that_died_or_was_idle_for_long_is_replaced(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    maker = AttemptMaker(ground.stage, "t-1")
    maker.make_folders(["a"])
    process = ground.stage._process
    assert process is not None
    process.kill()
    process.wait()
    with pytest.raises(StagingError) as raised:
        maker.make_folders(["b"])
    assert (raised.value.code, raised.value.retryable) == ("local_user", True)
    maker.make_folders(["b"])
    monkeypatch.setattr(userhelper, "_IDLE", -1.0)
    maker.make_folders(["c"])
    assert len(ground.starts()) == 3
    assert sorted(path.name for path in ground.root.iterdir()) == ["a", "b", "c"]


def test_why_sudo_refused_is_in_the_log_and_not_told_to_the_user(
    ground: Ground, caplog: pytest.LogCaptureFixture
) -> None:
    ground.sudo.write_text("#!/bin/sh\necho 'sudo: a password is required' >&2; exit 1\n")
    with pytest.raises(StagingError, match="as its local user") as raised:
        AttemptMaker(ground.stage, "t-1").make_folders(["a"])
    assert "a password is required" in caplog.text
    assert "sudo" not in str(raised.value)
    ground.sudo.unlink()
    with pytest.raises(StagingError):
        AttemptMaker(ground.stage, "t-1").make_folders(["a"])


def test_a_descriptor_that_is_no_file_is_not_written_to(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever runs as the user may have come between: a pipe would make the agent wait."""
    reading, writing = os.pipe()
    monkeypatch.setattr(ground.stage, "ask", lambda request: writing)
    with pytest.raises(StagingError):
        AttemptMaker(ground.stage, "t-1").create(["x"])
    with pytest.raises(OSError):
        os.fstat(writing)
    os.close(reading)


def test_a_fresh_job_s_folder_lets_its_user_in_and_is_known_as_shared(tmp_path: Path) -> None:
    (tmp_path / "t-1" / "root").mkdir(parents=True)
    sharing.admit(str(tmp_path / "t-1"), os.getgid())
    assert stat.S_IMODE((tmp_path / "t-1").stat().st_mode) == sharing.KEEP
    assert stat.S_IMODE((tmp_path / "t-1" / "root").stat().st_mode) == sharing.WRITE
    assert sharing.handed_to(str(tmp_path / "t-1")) == os.getgid()
