"""When the agent speaks to the hub, and what it makes of silence. Time is a number here."""

from __future__ import annotations

import queue
import random
import threading
from collections.abc import Iterator

import pytest

from ayni.agent.hub import HubError
from ayni.agent.line import APART_BUSY, OVERTAKE, Answered, Fenced, Line
from ayni.protocol.attempts import AttemptState
from ayni.protocol.exchange import AgentSide
from ayni.protocol.messages import Report, SyncReply, SyncRequest


class Wire:
    """What `Line` calls: it answers when the test says so."""

    def __init__(self) -> None:
        self.inbox: queue.SimpleQueue[Answered] = queue.SimpleQueue()
        self.answers: dict[int, SyncReply | HubError] = {}
        self.ready = threading.Condition()
        self.side = AgentSide("i", 1, "s", inventory_due=False, status_due=False)
        self.line = Line(self.sync, self.side, self.inbox.put, random.Random(1))

    def sync(self, request: SyncRequest) -> SyncReply:
        with self.ready:
            self.ready.wait_for(lambda: request.number in self.answers, 30)
            answer = self.answers[request.number]
        if isinstance(answer, HubError):
            raise answer
        return answer

    def send(self, now: float, *, news: bool = False) -> int:
        reports = [Report(attempt="a", seq=1, state=AttemptState.RUNNING)] if news else []
        request = self.side.request(reports, int(news), complete=True, wait=25)
        self.line.send(request, now)
        return request.number

    def answer(self, number: int, now: float, error: HubError | None = None) -> SyncReply | None:
        reply = SyncReply(epoch="e", number=number, acknowledged=0)
        with self.ready:
            self.answers[number] = error or reply
            self.ready.notify_all()
        return self.line.take(self.inbox.get(timeout=30), now)


@pytest.fixture
def wire() -> Iterator[Wire]:
    wire = Wire()
    yield wire
    with wire.ready:
        wire.answers = {n: HubError("over") for n in range(99)}
        wire.ready.notify_all()
    wire.line.close()


def test_a_request_is_open_at_nearly_every_moment(wire: Wire) -> None:
    assert wire.line.ready(0.0, 0)
    number = wire.send(0.0)
    assert not wire.line.ready(10.0, 0), "nothing new: it is held"
    assert wire.answer(number, 10.0) is not None
    assert wire.line.ready(10.0, 0)


def test_news_overtakes_a_request_that_is_held(wire: Wire) -> None:
    first = wire.send(0.0)
    assert wire.line.ready(5.0, newest=1)
    second = wire.send(5.0, news=True)
    assert wire.answer(first, 5.1) is None, "overtaken: its answer is dropped"
    assert wire.answer(second, 5.2) is not None


def test_a_changed_status_overtakes_too(wire: Wire) -> None:
    wire.send(0.0)
    wire.side.status_due = True
    assert wire.line.ready(5.0, 0)


def test_never_more_than_two_requests_are_open(wire: Wire) -> None:
    wire.send(0.0)
    wire.send(5.0, news=True)
    assert not wire.line.ready(10.0, newest=2)


def test_changes_travel_together_while_there_are_many(wire: Wire) -> None:
    number = wire.send(0.0, news=True)
    wire.answer(number, 0.01)
    assert not wire.line.ready(APART_BUSY / 2, newest=2)
    assert wire.line.ready(APART_BUSY, newest=2)


def test_a_request_that_told_something_is_waited_for_a_little(wire: Wire) -> None:
    wire.send(0.0, news=True)
    assert not wire.line.ready(OVERTAKE, newest=2)
    assert wire.line.ready(OVERTAKE + 0.01, newest=2)


def test_a_hub_that_does_not_answer_is_tried_with_growing_pauses(wire: Wire) -> None:
    now, pauses = 0.0, []
    for _ in range(12):
        number = wire.send(now)
        wire.answer(number, now, HubError("no answer in time"))
        assert wire.line.trouble == "no answer in time"
        before = now
        while not wire.line.ready(now, 0):
            now += 0.05
        pauses.append(now - before)
    assert pauses[0] <= 0.5 + 0.05
    assert 25 < pauses[-1] <= 60.05
    number = wire.send(now)
    assert wire.answer(number, now) is not None
    assert wire.line.trouble == ""


@pytest.mark.parametrize(
    ("status", "remedy"), [(401, "register"), (403, "operator"), (426, "upgrade")]
)
def test_a_key_that_is_not_taken_is_said_with_the_remedy_and_tried_slowly(
    wire: Wire, status: int, remedy: str
) -> None:
    number = wire.send(0.0)
    wire.answer(number, 0.0, HubError("the hub says no", status))
    assert remedy in wire.line.trouble
    assert "Running tasks go on" in wire.line.trouble
    assert not wire.line.ready(29.0, newest=5)
    assert wire.line.ready(61.0, newest=5)


def test_a_fence_ends_the_process(wire: Wire) -> None:
    number = wire.send(0.0)
    with pytest.raises(Fenced, match="elsewhere"):
        wire.answer(number, 0.1, HubError("a copy is running elsewhere", 409, "session"))


def test_a_fault_of_ours_does_not_end_the_line_in_silence(wire: Wire) -> None:
    wire.line._sync = lambda request: 1 / 0  # type: ignore[assignment,return-value]
    wire.send(0.0)
    assert wire.line.take(wire.inbox.get(timeout=30), 0.0) is None
    assert "ZeroDivisionError" in wire.line.trouble
