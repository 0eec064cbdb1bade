"""Attempts' folders: made, kept, removed, whatever a job left in them."""

from __future__ import annotations

import os
import stat
import tempfile
import time
from pathlib import Path

import pytest

from ayni.agent.staging.errors import StagingError
from ayni.agent.staging.folders import Folders
from ayni.agent.staging.trash import Trash
from ayni.agent.supervisor import disk, sharing
from tests.agent.staging.conftest import names


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    return Folders(tmp_path / "work", reserve=0, keep_failed=100.0)


def deep(top: Path, levels: int) -> None:
    """A tree that no path reaches the bottom of."""
    here = os.open(top, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir("d" * 50, dir_fd=here)
        inner = os.open("d" * 50, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(here)


def test_a_folder_has_room_for_files_and_logs(folders: Folders) -> None:
    folder = folders.make("a-1")
    assert names(folder) == ["logs", "root"]
    assert folders.attempts() == ["a-1"]


@pytest.mark.parametrize("attempt", ["", "..", ".failed", "a/b", "A", "a" * 200, "a\0", "../a"])
def test_an_id_that_is_none_is_refused(folders: Folders, attempt: str) -> None:
    with pytest.raises(ValueError, match="is no attempt's id"):
        folders.make(attempt)


def test_an_interrupted_staging_starts_again_with_an_empty_folder(folders: Folders) -> None:
    (folders.make("a") / "root" / "half").write_text("x")
    assert names(folders.make("a") / "root") == []


def test_a_folder_in_which_a_job_runs_is_not_taken_away(folders: Folders) -> None:
    (folders.make("a") / "claim").write_text("[1, 2, 3]")
    with pytest.raises(StagingError, match="already running"):
        folders.make("a")
    assert (folders.path("a") / "claim").exists()


def test_what_went_well_goes_at_once(folders: Folders) -> None:
    folders.make("a")
    folders.discard("a")
    assert folders.attempts() == []
    assert folders.sweep()
    assert list(folders.base.rglob("logs")) == []
    folders.discard("a")  # twice is as good as once


def test_what_failed_stays_for_its_time(folders: Folders) -> None:
    (folders.make("a") / "root" / "core").write_text("x")
    folders.discard("a", failed=True)
    now = time.time()
    folders.sweep(now=now + 50)
    assert [p.name for p in folders.base.rglob("core")] == ["core"]
    folders.sweep(now=now + 200)
    assert list(folders.base.rglob("core")) == []


def test_short_of_room_the_oldest_kept_folder_goes_first(folders: Folders) -> None:
    for age, attempt in enumerate(("old", "new")):
        (folders.make(attempt) / "root" / "big").write_bytes(b"x" * (1 << 20))
        folders.discard(attempt, failed=True)
        os.utime(folders.base / ".failed" / attempt, (time.time() - 50 + age,) * 2)
    folders.limit = (3 << 20) // 2
    folders.sweep()
    assert folders.no_room() is not None
    folders.sweep()
    assert names(folders.base / ".failed") == ["new"]
    assert folders.no_room() is None


def test_no_work_is_taken_when_the_disk_is_nearly_full(folders: Folders) -> None:
    assert folders.no_room() is None
    folders.reserve = 1 << 60
    reason = folders.no_room()
    assert reason is not None
    assert reason.code == "disk"
    assert "nearly full" in reason.message


def test_no_work_is_taken_beyond_what_the_operator_allows(folders: Folders) -> None:
    folders.limit = 100_000
    (folders.make("a") / "root" / "big").write_bytes(b"x" * 200_000)
    folders.sweep()
    reason = folders.no_room()
    assert reason is not None
    assert "operator allows" in reason.message
    folders.limit = 10 << 20
    assert folders.no_room() is None
    assert folders.no_room(wanted=11 << 20) is not None


def test_links_are_removed_and_what_they_point_at_stays(folders: Folders, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis").write_text("years")
    root = folders.make("a") / "root"
    (root / "folder").symlink_to(precious)
    (root / "file").symlink_to(precious / "thesis")
    (root / "d").mkdir()
    (root / "d" / "up").symlink_to("../../../..")
    os.link(precious / "thesis", root / "hard")
    folders.discard("a")
    assert folders.sweep()
    assert (precious / "thesis").read_text() == "years"


def test_special_files_and_names_that_are_no_text_are_removed(folders: Folders) -> None:
    root = folders.make("a") / "root"
    os.mkfifo(root / "fifo")
    (Path(os.fsdecode(bytes(root) + b"/\xff\xfe\n"))).write_text("x")
    folders.discard("a")
    assert folders.sweep()


def test_a_tree_too_deep_for_any_path_is_removed(folders: Folders) -> None:
    deep(folders.make("a") / "root", 3000)
    assert disk.measure(folders.base) > 0
    before = len(names("/proc/self/fd"))
    folders.discard("a")
    assert folders.sweep(seconds=30)
    assert names(folders.base / ".trash") == []
    assert len(names("/proc/self/fd")) == before


def test_removing_stops_when_its_time_is_over_and_goes_on_later(folders: Folders) -> None:
    root = folders.make("a") / "root"
    for n in range(50):
        (root / str(n)).mkdir()
    folders.discard("a")
    assert not folders.sweep(seconds=-1)
    assert folders.sweep(seconds=30)


def test_folders_that_forbid_everything_are_removed_by_an_ordinary_user() -> None:
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        base.chmod(0o777)
        pid = os.fork()
        if pid == 0:  # root may do anything, so somebody else must try
            status = 1
            try:
                if os.geteuid() == 0:
                    os.setgid(65534)
                    os.setuid(65534)
                status = 0 if forbidding_tree_goes(base) else 2
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def forbidding_tree_goes(base: Path) -> bool:
    tree = base / "work" / "a" / "b" / "c"
    tree.mkdir(parents=True)
    (tree / "f").write_text("x")
    for closed in (tree, tree.parent, tree.parent.parent):
        closed.chmod(0)
    trash = Trash(base / "trash")
    trash.take(base / "work")
    return trash.empty(time.monotonic() + 10) and not names(base / "trash")


def test_a_file_with_two_names_counts_once_and_holes_count_nothing(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 100_000)
    os.link(tmp_path / "a", tmp_path / "b")
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(10 << 30)
    assert 100_000 <= disk.measure(tmp_path) < 300_000


def test_what_is_shared_with_a_local_user_goes_by_a_trash_that_the_user_may_enter(folders):
    opened = []

    def unlock(group: int, name: str) -> None:
        opened.append((group, name))

    folders.unlock = unlock
    for attempt in ("a-1", "a-2"):
        folders.make(attempt)
    sharing.hand_over(str(folders.path("a-1")), os.getgid())
    folders.discard("a-1")
    folders.discard("a-2")
    trash = folders.base / f".trash-{os.getgid()}"
    assert len(list(trash.iterdir())) == 1
    assert stat.S_IMODE(trash.stat().st_mode) == sharing.READ
    assert Folders(folders.base, reserve=0).sweep(), "also after a restart"
    assert not list(trash.iterdir())
    assert opened == []


def test_a_local_user_s_files_that_do_not_go_are_unlocked(folders, monkeypatch):
    opened = []
    folders.unlock = lambda group, name: opened.append((group, name))
    sharing.hand_over(str(folders.make("a-1")), os.getgid())
    folders.discard("a-1")

    def stuck(trash: Trash, end: float) -> bool:
        trash.stuck = "Permission denied"
        return False

    monkeypatch.setattr(Trash, "empty", stuck)
    assert not folders.sweep()
    assert opened == [(os.getgid(), f".trash-{os.getgid()}")]
