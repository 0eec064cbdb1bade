from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import httpx
import pytest

from ayni.transfer import Answer, Mover, Outgoing, Stopped, TransferError, describe
from ayni.transfer.blocks import Described, opener
from tests.hub.store.server import WEB
from tests.transfer.conftest import Hub
from tests.transfer.flaky import content, flaky_mover

BLOCK = 65_536


def described(path: Path) -> Described:
    return describe(path, block_size=BLOCK)


def test_a_file_is_sent(hub: Hub, mover: Mover, big: Path) -> None:
    d = described(big)
    moved: list[int] = []
    mover.send(big, d, lambda: hub.answer(d), progress=moved.append)
    assert hub.bytes_of(d) == big.read_bytes()
    assert sum(moved) == d.size


def test_an_empty_file_is_sent(hub: Hub, mover: Mover, tmp_path: Path) -> None:
    path = tmp_path / "empty"
    path.touch()
    d = described(path)
    mover.send(path, d, lambda: hub.answer(d))
    assert hub.bytes_of(d) == b""


def test_only_what_is_missing_is_sent(hub: Hub, big: Path) -> None:
    d = described(big)
    first = hub.answer(d)
    data = big.read_bytes()
    for block in (first.missing[1], first.missing[4]):
        WEB.put(block.url, content=data[block.n * BLOCK : (block.n + 1) * BLOCK])
    with flaky_mover(lambda request, n: None) as (mover, network):
        mover.send(big, d, lambda: hub.answer(d))
    assert len(network.requests) == 4
    assert hub.bytes_of(d) == data


def test_passing_failures_are_tried_again(hub: Hub, big: Path) -> None:
    def fault(request: httpx.Request, n: int) -> httpx.Response | Exception | None:
        faults = [httpx.ConnectError("no"), httpx.ReadTimeout("no"), httpx.Response(503), None]
        return faults[n % 4]

    d = described(big)
    moved: list[int] = []
    with flaky_mover(fault) as (mover, _):
        mover.send(big, d, lambda: hub.answer(d), progress=moved.append)
    assert hub.bytes_of(d) == big.read_bytes()
    assert sum(moved) == d.size


def test_a_network_that_stays_down_is_a_retryable_error_without_secrets(
    hub: Hub, big: Path
) -> None:
    d = described(big)
    with (
        flaky_mover(lambda request, n: httpx.ConnectError(str(request.url))) as (mover, _),
        pytest.raises(TransferError) as caught,
    ):
        mover.send(big, d, lambda: hub.answer(d))
    assert caught.value.retryable
    assert caught.value.code == "network"
    assert "signature" not in str(caught.value)


def test_old_urls_are_asked_for_anew(hub: Hub, mover: Mover, big: Path) -> None:
    d = described(big)
    hub.seconds = -1

    def ask() -> Answer:
        answer = hub.answer(d)
        hub.seconds = 60
        return answer

    mover.send(big, d, ask)
    assert hub.bytes_of(d) == big.read_bytes()


def test_urls_that_are_always_refused_end_with_an_error(hub: Hub, mover: Mover, big: Path) -> None:
    d = described(big)
    hub.seconds = -1
    with pytest.raises(TransferError, match="clock"):
        mover.send(big, d, lambda: hub.answer(d))


def test_a_file_that_changed_meanwhile_is_not_sent(hub: Hub, mover: Mover, big: Path) -> None:
    d = described(big)
    big.write_bytes(content(d.size, seed=5))
    with pytest.raises(TransferError) as caught:
        mover.send(big, d, lambda: hub.answer(d))
    assert caught.value.code == "changed"
    assert not caught.value.retryable


def test_a_file_that_became_shorter_is_not_sent(hub: Hub, mover: Mover, big: Path) -> None:
    d = described(big)
    big.write_bytes(b"short")
    with pytest.raises(TransferError) as caught:
        mover.send(big, d, lambda: hub.answer(d))
    assert caught.value.code == "changed"


def test_a_file_that_went_away_is_said(hub: Hub, mover: Mover, big: Path) -> None:
    d = described(big)
    big.unlink()
    with pytest.raises(TransferError) as caught:
        mover.send(big, d, lambda: hub.answer(d))
    assert caught.value.code == "disk"


def test_a_store_that_forgets_what_it_took_ends_with_an_error(
    hub: Hub, mover: Mover, big: Path
) -> None:
    d = described(big)
    forgetful = hub.answer(d)
    with pytest.raises(TransferError, match="does not keep"):
        mover.send(big, d, lambda: forgetful)


def test_a_hub_that_asks_for_a_block_too_many_is_refused(hub: Hub, mover: Mover, big: Path) -> None:
    d = described(big)
    answer = hub.answer(d)
    answer.missing[0].n = 77
    with pytest.raises(TransferError, match="block 77"):
        mover.send(big, d, lambda: answer)


def test_sending_waits_while_the_store_verifies(
    hub: Hub, mover: Mover, big: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ayni.transfer.send.VERIFYING_PAUSE", 0.001)
    answers = [Answer(upload="u"), Answer(upload="u"), Answer(upload="u", ready=True)]
    assert mover.send(big, described(big), lambda: answers.pop(0)) == "u"


def test_a_stop_ends_the_sending_and_the_next_one_goes_on(hub: Hub, big: Path) -> None:
    d = described(big)
    stop = threading.Event()
    moved = 0

    def progress(n: int) -> None:
        nonlocal moved
        moved += n
        if moved > 2 * BLOCK:
            stop.set()

    with flaky_mover(lambda request, n: None) as (mover, _):
        with pytest.raises(Stopped):
            mover.send(big, d, lambda: hub.answer(d), stop=stop, progress=progress)
        before = hub.answer(d)
        assert 0 < len(before.missing) < 6
        mover.send(big, d, lambda: hub.answer(d))
    assert hub.bytes_of(d) == big.read_bytes()


def test_many_files_go_in_batches_and_one_failure_does_not_touch_the_others(
    hub: Hub, mover: Mover, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ayni.transfer.send.BATCH", 4)
    files = []
    for n in range(10):
        path = tmp_path / str(n)
        path.write_bytes(content(100 + n, n))
        files.append(Outgoing(opener(path), described(path), path.name))
    (tmp_path / "3").unlink()
    quota = TransferError("over the quota", code="quota")

    def ask(some: Sequence[Outgoing]) -> list[Answer | TransferError]:
        assert len(some) <= 4
        return [quota if f.name == "7" else hub.answer(f.described) for f in some]

    results = mover.send_many(files, ask)
    assert results[7] is quota
    assert isinstance(results[3], TransferError)
    assert results[3].code == "disk"
    for n in set(range(10)) - {3, 7}:
        assert isinstance(results[n], str)
        assert hub.bytes_of(files[n].described) == content(100 + n, n)
