"""The site's cache of project files."""

from __future__ import annotations

import hashlib
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ayni.agent.staging.cache import Cache
from ayni.transfer import Manifest, Mover, Stopped, TransferError
from ayni.transfer.http import Patience
from tests.agent.staging.conftest import BLOCK, FakeHub, Server


@pytest.fixture
def mover() -> Mover:
    return Mover(workers=2, patience=Patience(tries=2, first=0.01))


def manifest(server: Server, data: bytes, name: str = "f") -> Manifest:
    hub = FakeHub(server, {"ayni://clima/" + name: data})
    return Manifest.model_validate(hub._manifest("", "ayni://clima/" + name))


def gets(server: Server) -> int:
    return sum(method == "GET" for method, _, _ in server.asked)


def test_a_file_is_fetched_once_for_all_tasks_of_a_project(
    server: Server, mover: Mover, tmp_path: Path
) -> None:
    cache = Cache(tmp_path / "c", 1 << 20, mover)
    data = os.urandom(3 * BLOCK + 5)
    wanted = manifest(server, data)
    for name in ("a", "b"):
        cache.take("clima", wanted, tmp_path / name)
        assert (tmp_path / name).read_bytes() == data
    assert gets(server) == 4
    assert cache.size == len(data)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o444


def test_another_project_fetches_its_own(server: Server, mover: Mover, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "c", 1 << 20, mover)
    wanted = manifest(server, b"same bytes")
    cache.take("clima", wanted, tmp_path / "a")
    cache.take("otro", wanted, tmp_path / "b")
    assert gets(server) == 2
    assert not (tmp_path / "a").samefile(tmp_path / "b")


def test_many_that_want_one_file_at_once_fetch_it_once(
    server: Server, mover: Mover, tmp_path: Path
) -> None:
    cache = Cache(tmp_path / "c", 1 << 20, mover)
    wanted = manifest(server, b"x" * 1000)
    with ThreadPoolExecutor(8) as pool:
        jobs = [pool.submit(cache.take, "clima", wanted, tmp_path / str(n)) for n in range(16)]
        for job in jobs:
            job.result()
    assert gets(server) == 1
    assert cache._fetching == {}


def test_the_least_recently_used_goes_first(server: Server, mover: Mover, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "c", 2500, mover)
    files = [manifest(server, bytes([n]) * 1000, str(n)) for n in range(3)]
    cache.take("clima", files[0], tmp_path / "0")
    cache.take("clima", files[1], tmp_path / "1")
    cache.take("clima", files[0], tmp_path / "0b")
    cache.take("clima", files[2], tmp_path / "2")
    assert sorted(p.name for p in (tmp_path / "c" / "clima").iterdir()) == sorted(
        [files[0].sha256, files[2].sha256]
    )
    assert cache.size == 2000
    assert (tmp_path / "1").read_bytes() == b"\x01" * 1000  # in use, it stays for its user


def test_what_is_larger_than_the_cache_is_given_and_not_kept(
    server: Server, mover: Mover, tmp_path: Path
) -> None:
    cache = Cache(tmp_path / "c", 10, mover)
    cache.take("clima", manifest(server, b"x" * 1000), tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == b"x" * 1000
    assert cache.size == 0


@pytest.mark.parametrize("harm", ["write", "append", "chmod", "link"])
def test_an_entry_that_somebody_touched_is_fetched_again(
    server: Server, mover: Mover, tmp_path: Path, harm: str
) -> None:
    cache = Cache(tmp_path / "c", 1 << 20, mover)
    wanted = manifest(server, b"true")
    cache.take("clima", wanted, tmp_path / "a")
    mine = tmp_path / "a"  # a hard link, as a task without a sandbox might find it
    mine.chmod(0o644)
    if harm == "write":
        mine.write_bytes(b"lies")
        mine.chmod(0o444)
    elif harm == "append":
        with mine.open("ab") as file:
            file.write(b"!")
        mine.chmod(0o444)
    elif harm == "link":
        place = tmp_path / "c" / "clima" / wanted.sha256
        place.unlink()
        place.symlink_to("/etc/passwd")
    cache.take("clima", wanted, tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == b"true"
    assert not (tmp_path / "b").is_symlink()
    assert gets(server) == 2


def test_what_was_kept_is_known_after_a_restart(
    server: Server, mover: Mover, tmp_path: Path
) -> None:
    wanted = manifest(server, b"x" * 100)
    Cache(tmp_path / "c", 1 << 20, mover).take("clima", wanted, tmp_path / "a")
    again = Cache(tmp_path / "c", 1 << 20, mover)
    assert again.size == 100
    again.take("clima", wanted, tmp_path / "b")
    assert gets(server) == 1


def test_damage_on_the_way_is_noticed(server: Server, mover: Mover, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "c", 1 << 20, mover)
    wanted = manifest(server, b"x" * 100)
    server.got[f"/store/{hashlib.sha256(b'x' * 100).hexdigest()}"] = b"y" * 100
    with pytest.raises(TransferError):
        cache.take("clima", wanted, tmp_path / "a")
    assert not (tmp_path / "a").exists()
    assert cache.size == 0


def test_a_fetch_that_is_stopped_leaves_nothing_that_counts(
    server: Server, mover: Mover, tmp_path: Path
) -> None:
    cache = Cache(tmp_path / "c", 1 << 20, mover)
    stop = threading.Event()
    stop.set()
    with pytest.raises(Stopped):
        cache.take("clima", manifest(server, b"x"), tmp_path / "a", stop=stop)
    assert cache.size == Cache(tmp_path / "c", 1 << 20, mover).size == 0


def test_on_another_file_system_it_copies(
    server: Server, mover: Mover, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def elsewhere(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", elsewhere)
    cache = Cache(tmp_path / "c", 1 << 20, mover)
    wanted = manifest(server, b"data")
    for name in ("a", "b"):
        cache.take("clima", wanted, tmp_path / name)
        assert (tmp_path / name).read_bytes() == b"data"
    assert not (tmp_path / "a").samefile(tmp_path / "c" / "clima" / wanted.sha256)


@pytest.mark.parametrize("project", ["..", "a/b", "", "A", ".x"])
def test_a_project_is_no_path(server: Server, mover: Mover, tmp_path: Path, project: str) -> None:
    cache = Cache(tmp_path / "c", 1 << 20, mover)
    with pytest.raises(ValueError, match="no project"):
        cache.take(project, manifest(server, b"x"), tmp_path / "a")
