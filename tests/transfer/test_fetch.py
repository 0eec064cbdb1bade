from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from pydantic import ValidationError

from ayni.transfer import Described, Incoming, Manifest, Mover, Stopped, TransferError, describe
from tests.transfer.conftest import Hub
from tests.transfer.flaky import CutShort, content, flaky_mover

BLOCK = 65_536


@pytest.fixture
def stored(hub: Hub, mover: Mover, big: Path) -> Described:
    """A file of six blocks that lies in the store."""
    d = describe(big, block_size=BLOCK)
    mover.send(big, d, lambda: hub.answer(d))
    return d


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "down" / "target"


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_fetched(
    hub: Hub, mover: Mover, stored: Described, big: Path, target: Path
) -> None:
    moved: list[int] = []
    mover.fetch(Incoming(hub.manifest(stored), target), progress=moved.append)
    assert target.read_bytes() == big.read_bytes()
    assert left_in(target.parent) == ["target"]
    assert sum(moved) == stored.size


def test_an_empty_file_is_fetched(hub: Hub, mover: Mover, tmp_path: Path, target: Path) -> None:
    empty = tmp_path / "empty"
    empty.touch()
    mover.fetch(Incoming(hub.manifest(describe(empty)), target))
    assert target.read_bytes() == b""


def test_what_was_there_is_replaced_at_once(
    hub: Hub, mover: Mover, stored: Described, big: Path, target: Path
) -> None:
    target.parent.mkdir()
    target.write_bytes(b"old")
    before = target.stat().st_ino
    mover.fetch(Incoming(hub.manifest(stored), target))
    assert target.read_bytes() == big.read_bytes()
    assert target.stat().st_ino != before


def interrupted(hub: Hub, stored: Described, target: Path) -> None:
    """A fetch that stopped in the middle; nothing stands at the target."""
    stop = threading.Event()
    moved = 0

    def progress(n: int) -> None:
        nonlocal moved
        moved += n
        if moved > 3 * BLOCK:
            stop.set()

    with flaky_mover(lambda request, n: None) as (mover, _), pytest.raises(Stopped):
        mover.fetch(Incoming(hub.manifest(stored), target), stop=stop, progress=progress)
    assert not target.exists()


def test_a_stopped_fetch_goes_on_where_it_was(
    hub: Hub, stored: Described, big: Path, target: Path
) -> None:
    interrupted(hub, stored, target)
    moved: list[int] = []
    with flaky_mover(lambda request, n: None) as (mover, network):
        mover.fetch(Incoming(hub.manifest(stored), target), progress=moved.append)
    assert 0 < len(network.requests) < 6
    assert target.read_bytes() == big.read_bytes()
    assert left_in(target.parent) == ["target"]
    assert sum(moved) == stored.size


def test_ctrl_c_stops_the_fetch_and_keeps_what_arrived(
    hub: Hub, stored: Described, big: Path, target: Path
) -> None:
    def interrupt(request: httpx.Request, n: int) -> None:
        if n == 3:
            raise KeyboardInterrupt

    with flaky_mover(interrupt) as (mover, _), pytest.raises(KeyboardInterrupt):
        mover.fetch(Incoming(hub.manifest(stored), target))
    assert not target.exists()
    with flaky_mover(lambda request, n: None) as (mover, network):
        mover.fetch(Incoming(hub.manifest(stored), target))
    assert len(network.requests) < 6
    assert target.read_bytes() == big.read_bytes()


def damage_part(target: Path) -> None:
    part = target.parent / ".target.part"
    data = bytearray(part.read_bytes())
    data[10] ^= 1
    part.write_bytes(data)


def damage_notes(target: Path) -> None:
    (target.parent / ".target.part.done").write_bytes(b"\xff{nonsense\n1\n")


def lie_in_notes(target: Path) -> None:
    """As after a machine that went down: blocks noted that never reached the disk."""
    notes = target.parent / ".target.part.done"
    notes.write_text(notes.read_text().splitlines()[0] + "\n0\n1\n2\n3\n4\n5\n999\nx\n")


def no_part(target: Path) -> None:
    (target.parent / ".target.part").unlink()


@pytest.mark.parametrize("harm", [damage_part, damage_notes, lie_in_notes, no_part])
def test_what_was_kept_is_not_trusted_blindly(
    hub: Hub, mover: Mover, stored: Described, big: Path, target: Path, harm: Callable[[Path], None]
) -> None:
    interrupted(hub, stored, target)
    harm(target)
    mover.fetch(Incoming(hub.manifest(stored), target))
    assert target.read_bytes() == big.read_bytes()
    assert left_in(target.parent) == ["target"]


def test_what_was_kept_of_another_content_is_not_used(
    hub: Hub, mover: Mover, stored: Described, tmp_path: Path, target: Path
) -> None:
    interrupted(hub, stored, target)
    other = tmp_path / "other"
    other.write_bytes(content(stored.size, seed=8))
    d = describe(other, block_size=BLOCK)
    mover.send(other, d, lambda: hub.answer(d))
    mover.fetch(Incoming(hub.manifest(d), target))
    assert target.read_bytes() == other.read_bytes()


def test_a_lost_connection_goes_on_within_the_block(
    hub: Hub, stored: Described, big: Path, target: Path
) -> None:
    data = big.read_bytes()

    def fault(request: httpx.Request, n: int) -> httpx.Response | None:
        return httpx.Response(200, stream=CutShort(data[:1000])) if n == 0 else None

    moved: list[int] = []
    with flaky_mover(fault) as (mover, network):
        mover.fetch(Incoming(hub.manifest(stored), target), progress=moved.append)
    assert target.read_bytes() == data
    assert network.requests[1].headers["Range"] == f"bytes=1000-{BLOCK - 1}"
    assert sum(moved) == stored.size


def test_a_server_without_ranges_is_fine_too(
    hub: Hub, stored: Described, big: Path, target: Path
) -> None:
    data = big.read_bytes()

    def fault(request: httpx.Request, n: int) -> httpx.Response | None:
        if n == 0:
            return httpx.Response(200, stream=CutShort(data[:1000]))
        return httpx.Response(200, content=data[:BLOCK]) if n == 1 else None

    with flaky_mover(fault) as (mover, _):
        mover.fetch(Incoming(hub.manifest(stored), target))
    assert target.read_bytes() == data


def test_damaged_blocks_are_fetched_again(
    hub: Hub, stored: Described, big: Path, target: Path
) -> None:
    def fault(request: httpx.Request, n: int) -> httpx.Response | None:
        return httpx.Response(200, content=content(BLOCK, seed=3)) if n == 0 else None

    with flaky_mover(fault) as (mover, _):
        mover.fetch(Incoming(hub.manifest(stored), target))
    assert target.read_bytes() == big.read_bytes()


@pytest.mark.parametrize("size", [0, 1000, BLOCK, 10 * BLOCK])
def test_a_store_that_only_gives_rubbish_ends_with_an_error(
    hub: Hub, stored: Described, target: Path, size: int
) -> None:
    rubbish = content(size, seed=3)
    with (
        flaky_mover(lambda request, n: httpx.Response(200, content=rubbish)) as (mover, _),
        pytest.raises(TransferError) as caught,
    ):
        mover.fetch(Incoming(hub.manifest(stored), target))
    assert caught.value.retryable
    assert not target.exists()


def test_old_urls_are_asked_for_anew(
    hub: Hub, mover: Mover, stored: Described, big: Path, target: Path
) -> None:
    old = hub.manifest(stored, seconds=-1)
    mover.fetch(Incoming(old, target, lambda: hub.manifest(stored)))
    assert target.read_bytes() == big.read_bytes()


def test_old_urls_that_stay_old_end_with_an_error(
    hub: Hub, mover: Mover, stored: Described, target: Path
) -> None:
    old = hub.manifest(stored, seconds=-1)
    with pytest.raises(TransferError, match="clock"):
        mover.fetch(Incoming(old, target, lambda: old))
    with pytest.raises(TransferError) as caught:
        mover.fetch(Incoming(old, target))
    assert caught.value.code == "expired"


def test_a_file_that_was_replaced_meanwhile_is_said(
    hub: Hub, mover: Mover, stored: Described, tmp_path: Path, target: Path
) -> None:
    other = tmp_path / "other"
    other.write_bytes(b"new")
    new = hub.manifest(describe(other, block_size=BLOCK))
    old = hub.manifest(stored, seconds=-1)
    with pytest.raises(TransferError) as caught:
        mover.fetch(Incoming(old, target, lambda: new))
    assert caught.value.code == "changed"


def test_a_wrong_hash_of_the_whole_is_found(
    hub: Hub, mover: Mover, stored: Described, target: Path
) -> None:
    lying = hub.manifest(stored).model_copy(update={"sha256": "0" * 64})
    with pytest.raises(TransferError) as caught:
        mover.fetch(Incoming(lying, target))
    assert caught.value.code == "corrupt"
    assert not target.exists()


def test_two_fetches_to_one_target_do_not_mix(
    hub: Hub, stored: Described, big: Path, target: Path
) -> None:
    inside, on = threading.Event(), threading.Event()

    def wait(request: httpx.Request, n: int) -> None:
        inside.set()
        on.wait(10)

    with flaky_mover(wait) as (slow, _), flaky_mover(lambda request, n: None) as (quick, _):
        thread = threading.Thread(target=slow.fetch, args=(Incoming(hub.manifest(stored), target),))
        thread.start()
        inside.wait(10)
        with pytest.raises(TransferError) as caught:
            quick.fetch(Incoming(hub.manifest(stored), target))
        on.set()
        thread.join()
    assert caught.value.code == "busy"
    assert target.read_bytes() == big.read_bytes()


def test_a_disk_that_says_no_is_said(
    hub: Hub, mover: Mover, stored: Described, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(TransferError) as caught:
        mover.fetch(Incoming(hub.manifest(stored), tmp_path / "file" / "target"))
    assert caught.value.code == "disk"


def test_a_link_in_the_parts_place_is_not_followed(
    hub: Hub, mover: Mover, stored: Described, tmp_path: Path, target: Path
) -> None:
    precious = tmp_path / "precious"
    precious.write_bytes(b"precious")
    target.parent.mkdir()
    (target.parent / ".target.part").symlink_to(precious)
    with pytest.raises(TransferError):
        mover.fetch(Incoming(hub.manifest(stored), target))
    assert precious.read_bytes() == b"precious"


def test_a_very_long_name_is_fetched(
    hub: Hub, mover: Mover, stored: Described, big: Path, tmp_path: Path
) -> None:
    target = tmp_path / ("n" * 255)
    mover.fetch(Incoming(hub.manifest(stored), target))
    assert target.read_bytes() == big.read_bytes()


def test_many_files_and_one_failure(
    hub: Hub, mover: Mover, stored: Described, big: Path, tmp_path: Path
) -> None:
    lying = hub.manifest(stored).model_copy(update={"sha256": "0" * 64})
    targets = [tmp_path / "many" / str(n) for n in range(8)]
    files = [Incoming(lying if n == 2 else hub.manifest(stored), t) for n, t in enumerate(targets)]
    results = mover.fetch_many(files)
    assert isinstance(results[2], TransferError)
    assert [r for n, r in enumerate(results) if n != 2] == [None] * 7
    assert left_in(tmp_path / "many") == sorted(
        [".2.part", ".2.part.done", *(str(n) for n in range(8) if n != 2)]
    )


@pytest.mark.parametrize(
    "change",
    [
        {"size": 10},
        {"block_size": 1},
        {"block_size": 0},
        {"sha256": "../../x"},
        {"blocks": []},
        {"size": -1},
    ],
)
def test_a_manifest_that_does_not_add_up_is_refused(
    hub: Hub, stored: Described, change: dict[str, object]
) -> None:
    right = hub.manifest(stored).model_dump()
    Manifest.model_validate(right)
    with pytest.raises(ValidationError):
        Manifest.model_validate({**right, **change})


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://x/y", "x", "https://a b"])
def test_only_web_addresses_are_fetched(hub: Hub, stored: Described, url: str) -> None:
    wrong = hub.manifest(stored).model_dump()
    wrong["blocks"][0]["url"] = url
    with pytest.raises(ValidationError):
        Manifest.model_validate(wrong)
