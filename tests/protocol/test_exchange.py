"""The rules of one sync, each alone. `test_exchange_machine` tries them all together."""

from __future__ import annotations

import pytest

from ayni.protocol.attempts import AttemptState
from ayni.protocol.exchange import (
    AgentSide,
    Fence,
    Known,
    SiteMemory,
    Taken,
    fence_message,
    hear,
    missing,
    take,
)
from ayni.protocol.messages import Report, SiteStatus, SyncReply, SyncRequest
from ayni.protocol.policy import Policy

S = AttemptState


def request(**fields: object) -> SyncRequest:
    base = {
        "incarnation": "i", "generation": 1, "session": "s", "number": 1,
        "epoch": "e", "since": 0, "through": 0,
    }  # fmt: skip
    return SyncRequest.model_validate({**base, **fields})


def agent() -> AgentSide:
    return AgentSide("i", 1, "s")


def report(seq: int, state: AttemptState = S.RUNNING) -> Report:
    return Report(attempt="a", seq=seq, state=state)


def status() -> SiteStatus:
    return SiteStatus(agent_version="1", policy=Policy(), partitions=[])


HEARD = SiteMemory("i", generation=3, session="s", number=7, acknowledged=10)


@pytest.mark.parametrize(
    ("fields", "fence"),
    [
        ({"protocol": 0}, Fence.VERSION),
        ({"protocol": 99}, Fence.VERSION),
        ({"incarnation": "other"}, Fence.INCARNATION),
        ({"generation": 2}, Fence.GENERATION),
        ({"session": "clone"}, Fence.SESSION),
        ({}, None),
        ({"generation": 4, "session": "later"}, None),
    ],
)
def test_only_the_newest_process_of_the_one_journal_is_heard(
    fields: dict[str, object], fence: Fence | None
) -> None:
    heard = hear(HEARD, request(**{"generation": 3, "number": 8, **fields}))
    assert heard.fence is fence
    if fence:
        assert heard.memory == HEARD
        assert fence_message(fence)


def test_a_request_that_follows_on_is_acknowledged() -> None:
    heard = hear(HEARD, request(generation=3, number=8, since=10, through=14))
    assert (heard.memory.acknowledged, heard.rewound, heard.fresh) == (14, False, True)


def test_a_doubled_request_changes_nothing_and_its_status_does_not_count() -> None:
    heard = hear(HEARD, request(generation=3, number=7, since=5, through=10))
    assert (heard.memory, heard.fresh) == (HEARD, False)


def test_a_hub_that_went_back_asks_again_from_what_it_has() -> None:
    heard = hear(HEARD, request(generation=3, number=8, since=12, through=14))
    assert heard.rewound
    assert heard.memory.acknowledged == 10


@pytest.mark.parametrize(
    ("known", "state", "taken"),
    [
        (Known(S.ASSIGNED, 0), S.COMPLETE, Taken.APPLY),
        (Known(S.RUNNING, 5), S.COMPLETE, Taken.STALE),
        (Known(S.RUNNING, 4), S.ACCEPTED, Taken.ILLEGAL),
        (Known(S.RUNNING, 4, superseded=True), S.COMPLETE, Taken.USAGE_ONLY),
        (Known(S.LOST, 4), S.COMPLETE, Taken.USAGE_ONLY),
        (Known(S.COMPLETE, 4), S.COMPLETE, Taken.USAGE_ONLY),
        (Known(S.COMPLETE, 4), S.EXECUTOR_ERROR, Taken.ILLEGAL),
    ],
)
def test_what_becomes_of_a_report(known: Known, state: AttemptState, taken: Taken) -> None:
    assert take(known, report(5, state)) is taken


def test_an_attempt_that_the_agent_has_no_more_is_missing() -> None:
    asked = request(generation=3, number=8, since=10, through=10, inventory=["a"])
    live = {"a": S.RUNNING, "b": S.PENDING, "c": S.ASSIGNED}
    assert missing(hear(HEARD, asked), asked, live) == {"b"}


@pytest.mark.parametrize(
    "fields",
    [
        {"inventory": None, "number": 8, "since": 10},
        {"inventory": [], "number": 7, "since": 10},  # an old request, late
        {"inventory": [], "number": 8, "since": 12},  # the hub lacks reports
        {"inventory": [], "number": 8, "since": 10, "session": "clone"},
    ],
)
def test_nothing_is_missing_unless_the_agent_can_know(fields: dict[str, object]) -> None:
    asked = request(**{"generation": 3, "through": 12, **fields})
    assert missing(hear(HEARD, asked), asked, {"b": S.PENDING}) == frozenset()


def test_the_first_request_tells_all_and_the_next_only_what_changed() -> None:
    side = agent()
    first = side.request([report(1)], 1, complete=True, status=status, inventory=lambda: ["a"])
    assert first.status and first.inventory == ["a"]
    assert side.hear(SyncReply(epoch="e", number=1, acknowledged=1))
    second = side.request([], 1, complete=True, status=status, inventory=lambda: ["a"])
    assert (second.since, second.through) == (1, 1)
    assert second.status is None and second.inventory is None


def test_what_a_lost_request_told_is_told_again() -> None:
    side = agent()
    side.request([], 0, complete=True, status=status, inventory=list)
    again = side.request([], 0, complete=True, status=status, inventory=list)
    assert again.status and again.inventory == []


def test_a_status_that_changed_while_a_request_was_open_is_told_by_the_next() -> None:
    side = agent()
    side.request([], 0, complete=True, status=status, inventory=list)
    side.status_due = True
    side.hear(SyncReply(epoch="e", number=1, acknowledged=0))
    assert side.request([], 0, complete=True, status=status, inventory=list).status


def test_an_inventory_is_never_told_with_half_of_the_reports() -> None:
    side = agent()
    first = side.request([report(1)], 2, complete=False, status=status, inventory=list, wait=9)
    assert (first.through, first.inventory, first.wait) == (1, None, 0)
    side.hear(SyncReply(epoch="e", number=1, acknowledged=1))
    assert side.request([report(2)], 2, complete=True, inventory=list).inventory == []


def test_an_answer_to_an_older_request_is_dropped() -> None:
    side = agent()
    side.request([], 0, complete=True)
    side.request([], 0, complete=True)
    assert not side.hear(SyncReply(epoch="e", number=1, acknowledged=5))
    assert side.acknowledged == 0
    assert side.hear(SyncReply(epoch="e", number=2, acknowledged=5))
    assert not side.hear(SyncReply(epoch="e", number=2, acknowledged=6)), "a doubled answer"


def test_a_hub_of_another_epoch_gets_what_it_lacks() -> None:
    side = agent()
    side.request([], 0, complete=True, status=status, inventory=list)
    side.hear(SyncReply(epoch="e", number=1, acknowledged=0))
    side.request([], 0, complete=True, status=status, inventory=list)
    side.hear(SyncReply(epoch="restored", number=2, acknowledged=0))
    third = side.request([], 0, complete=True, status=status, inventory=list)
    assert third.epoch == "restored" and third.status and third.inventory == []


def test_a_journal_that_went_back_is_noticed() -> None:
    side = agent()
    side.request([], 4, complete=True)
    side.hear(SyncReply(epoch="e", number=1, acknowledged=9))
    assert side.is_behind(4)
    assert not side.is_behind(9)
