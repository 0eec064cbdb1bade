"""The relay looks after the attempts that run, and says all that one has left before it is over."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ayni.agent.channels.relay import Relay
from ayni.agent.staging.errors import StagingError
from ayni.protocol import release
from ayni.protocol.channels import ReadReply, Want
from tests.agent.channels.support import Bench, FakeHub, incoming


class Reading(FakeHub):
    """Has three messages for whoever asks."""

    def read(self, wants: list[Want], wait: float) -> ReadReply:
        time.sleep(0.01)
        found = [incoming(n) for want in wants for n in (1, 2, 3) if n > want.after]
        return ReadReply(messages=found)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path, hub=Reading())


@pytest.fixture
def relay(bench: Bench) -> Iterator[Relay]:
    relay = Relay(bench.desk.spot.tools, lambda assignment: release.FREE)
    yield relay
    relay.close()


def until(what: object) -> None:
    end = time.monotonic() + 30
    while not what():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_running_attempt_is_relayed_both_ways(bench: Bench, relay: Relay) -> None:
    bench.task.send("part", {"n": 1})
    relay.follow([bench.desk.spot.assignment], {"a1"})
    until(lambda: bench.said == [1])
    until(lambda: len(list((bench.spool / "in").iterdir())) == 3)
    assert [m.sequence for m in bench.task.receive(timeout=0)] == [1, 2, 3]


def test_an_attempt_that_does_not_run_is_left_alone_and_one_that_is_over_forgotten(
    bench: Bench, relay: Relay
) -> None:
    bench.book.placed("a1", "sums", 7)
    relay.follow([], {"a1"})
    assert bench.book.heard("a1", "sums").last == 7
    relay.follow([], set())
    assert bench.book.heard("a1", "sums").last == 0


def test_what_an_ended_job_left_is_said_or_the_attempt_waits(bench: Bench, relay: Relay) -> None:
    for n in range(3):
        bench.task.send("part", {"n": n})
    bench.hub.down = True
    with pytest.raises(StagingError) as error:
        relay.drain(bench.desk.spot.assignment, threading.Event())
    assert error.value.retryable and "sums" in error.value.message
    bench.hub.down = False
    relay.drain(bench.desk.spot.assignment, threading.Event())
    assert bench.said == [0, 1, 2] and bench.left() == []
