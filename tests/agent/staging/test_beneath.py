"""A path never leaves its root."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ayni.agent.staging.beneath import MAX_DEPTH, Root, walk
from tests.agent.staging.conftest import names


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


@pytest.mark.parametrize("path", ["../secret", "/a/../../secret", "..", "a/..", "a\0b"])
def test_what_leads_up_is_refused(root: Path, path: str) -> None:
    with Root(root) as beneath:
        for action in (beneath.create, beneath.open, beneath.stat, beneath.make_folders):
            with pytest.raises((OSError, ValueError)):
                action(path)
    assert names(root) == []


@pytest.mark.parametrize("name", ["x" * 256, "ñ" * 128, "a/" * 2100])
def test_what_no_file_system_holds_is_refused(root: Path, name: str) -> None:
    with Root(root) as beneath, pytest.raises(OSError):
        beneath.create(name)


def test_a_link_on_the_way_is_never_followed(root: Path, tmp_path: Path) -> None:
    (root / "up").symlink_to("..")
    (root / "abs").symlink_to(tmp_path)
    (root / "file").symlink_to(tmp_path / "secret")
    (root / "dangling").symlink_to(tmp_path / "new")
    with Root(root) as beneath:
        for path in ("up/secret", "abs/secret", "file", "up", "up/x"):
            with pytest.raises(OSError):
                beneath.open(path)
            with pytest.raises(OSError):
                beneath.create(path)
        with pytest.raises(OSError):
            beneath.make_folders("up/made")
        with pytest.raises(FileExistsError):
            beneath.create("dangling")
    assert names(tmp_path) == ["root", "secret"]


def test_a_folder_swapped_for_a_link_while_in_use_leads_nowhere(root: Path, tmp_path: Path) -> None:
    (root / "a").mkdir()
    (tmp_path / "outside").mkdir()
    with Root(root) as beneath:
        os.close(beneath.create("a/before"))
        (root / "a" / "before").unlink()
        (root / "a").rmdir()
        (root / "a").symlink_to(tmp_path / "outside")
        with pytest.raises(OSError):
            beneath.create("a/after")
    assert names(tmp_path / "outside") == []


def test_special_files_are_refused_and_not_waited_for(root: Path) -> None:
    os.mkfifo(root / "fifo")
    with socket.socket(socket.AF_UNIX) as sock, Root(root) as beneath:
        sock.bind(str(root / "socket"))
        for name in ("fifo", "socket"):
            with pytest.raises(OSError, match="is a"):
                beneath.open(name)


@pytest.mark.parametrize(
    ("link", "path", "place"),
    [
        ("data/f", "/l", "/data/f"),
        ("/data/f", "/l", "/data/f"),
        ("../../../data/f", "/l", "/data/f"),
        ("/data", "/l/f", "/data/f"),
        ("/data/../data/./f", "/l", "/data/f"),
    ],
)
def test_a_link_within_the_root_leads_where_the_job_saw_it_lead(
    root: Path, link: str, path: str, place: str
) -> None:
    (root / "data").mkdir()
    (root / "data" / "f").write_text("x")
    (root / "l").symlink_to(link)
    with Root(root) as beneath:
        assert beneath.resolve(path) == place


def test_without_a_sandbox_the_hosts_own_path_leads_to_the_same_place(root: Path) -> None:
    (root / "f").write_text("x")
    (root / "l").symlink_to(root / "f")
    with Root(root) as beneath:
        assert beneath.resolve("/l") == "/f"


@pytest.mark.parametrize("link", ["/secret", "../secret", "/etc/passwd", "/proc/self/root/etc"])
def test_a_link_out_of_the_root_leads_nowhere(root: Path, link: str) -> None:
    (root / "l").symlink_to(link)
    with Root(root) as beneath, pytest.raises(OSError):
        beneath.resolve("/l")


def test_links_in_a_circle_end(root: Path) -> None:
    (root / "a").symlink_to("b")
    (root / "b").symlink_to("a")
    with Root(root) as beneath, pytest.raises(OSError, match=r"levels of symbolic links"):
        beneath.resolve("/a")


name = st.sampled_from(["a", "b", "..", ".", "l", "m", ""])
target = st.lists(name, max_size=4).map("/".join)


@settings(max_examples=200, deadline=None)
@given(links=st.lists(st.tuples(target, st.booleans()), min_size=2, max_size=2), path=target)
def test_whatever_the_links_a_resolved_path_opens_only_what_is_inside(
    tmp_path_factory: pytest.TempPathFactory,
    links: list[tuple[str, bool]],
    path: str,
) -> None:
    base = tmp_path_factory.mktemp("r")
    root = base / "root"
    (root / "a" / "b").mkdir(parents=True)
    (root / "a" / "f").write_text("inside")
    for link, (to, absolute) in zip(("l", "m"), links, strict=True):
        (root / link).symlink_to(("/" if absolute else "") + to or ".")
    with Root(root) as beneath:
        try:
            place = beneath.resolve(path)
            fd = beneath.open(place)
        except OSError:
            return
        real = str(Path(f"/proc/self/fd/{fd}").readlink())
        os.close(fd)
    assert real == str(root) or real.startswith(f"{root}/")


def test_a_walk_tells_links_and_does_not_follow_them(root: Path, tmp_path: Path) -> None:
    (root / "d" / "e").mkdir(parents=True)
    (root / "d" / "e" / "f").write_text("x")
    (root / "d" / "out").symlink_to(tmp_path)
    with Root(root) as beneath:
        assert [path for path, _ in walk(beneath, "d")] == ["e", "e/f", "out"]


def test_a_walk_of_a_tree_without_end_ends(root: Path) -> None:
    here = os.open(root, os.O_RDONLY)
    for _ in range(3 * MAX_DEPTH):
        os.mkdir("d", dir_fd=here)
        inner = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(here)
    before = len(names("/proc/self/fd"))
    with Root(root) as beneath, pytest.raises(OSError, match="deeper than"):
        list(walk(beneath, "/"))
    assert len(names("/proc/self/fd")) == before
