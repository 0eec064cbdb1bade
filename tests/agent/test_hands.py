"""The threads that stage and deliver: every attempt is answered for, whatever happens in them."""

from __future__ import annotations

import queue
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from ayni.agent.hands import Hands, Staged
from ayni.agent.staging.finish import Ended, Finished
from ayni.agent.staging.inputs import Prepared
from ayni.protocol.messages import Assignment
from tests.agent.assignments import assignment


class Stager:
    """Stages until it comes to an attempt called `bad`."""

    def prepare(
        self, batch: Sequence[Assignment], stops: Mapping[str, Any]
    ) -> Iterator[tuple[str, Prepared]]:
        for one in batch:
            if one.attempt == "bad":
                raise ZeroDivisionError("a fault of ours")
            if one.attempt == "slow":
                assert stops["slow"].wait(30)
            yield one.attempt, Prepared(one.attempt, Path("/w") / one.attempt)


class Finisher:
    def finish(self, batch: Sequence[Ended], stops: Mapping[str, Any]) -> Iterator[Finished]:
        for one in batch:
            if one.assignment.attempt == "bad":
                raise OSError("a fault of ours")
            yield Finished(one.assignment.attempt)


@pytest.fixture
def told() -> queue.SimpleQueue[Staged | Finished]:
    return queue.SimpleQueue()


@pytest.fixture
def hands(told: queue.SimpleQueue[Staged | Finished]) -> Iterator[Hands]:
    made = Hands(Stager(), Finisher(), told.put)  # type: ignore[arg-type]
    yield made
    made.close()


def test_every_attempt_of_many_is_told_once(
    hands: Hands, told: queue.SimpleQueue[Staged | Finished]
) -> None:
    names = [f"a{n}" for n in range(300)]
    hands.stage([assignment(name) for name in names])
    found = [told.get(timeout=30).attempt for _ in names]
    assert sorted(found) == sorted(names)
    assert told.empty()


def test_a_fault_of_ours_fails_only_what_was_not_answered_yet(
    hands: Hands, told: queue.SimpleQueue[Staged | Finished]
) -> None:
    hands.stage([assignment("a"), assignment("bad"), assignment("b")])
    found = {message.attempt: message for message in (told.get(timeout=30) for _ in range(3))}
    assert isinstance(found["a"], Staged) and isinstance(found["a"].result, Prepared)
    for name in ("bad", "b"):
        message = found[name]
        assert isinstance(message, Staged) and not isinstance(message.result, Prepared)
        assert message.result.retryable
        assert "a fault of ours" not in message.result.message, "not the user's concern"


def test_a_fault_in_delivery_is_told_too(
    hands: Hands, told: queue.SimpleQueue[Staged | Finished]
) -> None:
    hands.deliver([Ended(assignment(n), Path("/w"), succeeded=True) for n in ("a", "bad")])
    found = {message.attempt: message for message in (told.get(timeout=30) for _ in range(2))}
    assert isinstance(found["bad"], Finished) and found["bad"].error is not None
    assert isinstance(found["a"], Finished) and found["a"].error is None


def test_a_thread_leaves_off_when_told(
    hands: Hands, told: queue.SimpleQueue[Staged | Finished]
) -> None:
    hands.stage([assignment("slow")])
    hands.stop(["slow", "nobody"])
    assert told.get(timeout=30).attempt == "slow"
