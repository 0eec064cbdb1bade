"""What a site does when, with a model that is exchanged in fragments."""

from __future__ import annotations

from typing import Any

import pytest

from ayni.lm import turns
from ayni.lm.inner.progress import Brought, Part, Progress
from ayni.lm.outer.catchup import CatchUp
from ayni.lm.outer.messages import Head, Link
from ayni.lm.outer.schedule import Phase, Schedule
from ayni.lm.outer.state import Rules

LATE = CatchUp(None, (Link(version=1, update="u", digest="d"),), 1, discard=False)
TOO_LATE = CatchUp(None, LATE.links * 3, 3, discard=True)
ELSEWHERE = CatchUp("snapshot", (), None, discard=True)
THERE = CatchUp(None, (), 0, discard=False)


def rules(overlap: int = 0, steps: int = 100) -> Rules:
    schedule = Schedule(steps=steps, phases=(Phase(from_step=0, inner_steps=10),))
    return Rules(run="r", schedule=schedule, fragments=2, overlap=overlap)


def out(at: int, **more: Any) -> Part:
    return Part(step=at - 10, due=at, out=Brought(at, 10, 100, 1.0), **more)


def head(step: int, fragment: str = "part-0", inner: int = 10) -> Head:
    return Head(
        run="r", fragment=fragment, count=4, version=1, digest="d", status="running", step=step,
        inner_steps=inner, window=2, lr=None, evaluate=False, snapshot_version=0, snapshot="s",
        snapshot_digest="e", chain=(),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("overlap", "at", "wanted"),
    [
        (0, 20, 20),
        (4, 20, 24),
        (30, 20, 30),  # no later than the next round's end
        (4, 98, 100),  # and no later than the run's
        (4, 100, 100),
    ],
)
def test_an_answer_is_merged_so_many_steps_after_it_was_brought(
    overlap: int, at: int, wanted: int
) -> None:
    assert turns.merge_at(out(at), rules(overlap)) == wanted


def test_what_is_due_was_trained_and_is_not_out() -> None:
    assert turns.is_due(Part(due=10, done=3), 10)
    assert not turns.is_due(Part(due=10, done=3), 9)
    assert not turns.is_due(Part(due=10, done=0), 12), "the clock went on while it was away"
    assert not turns.is_due(Part(done=3), 10), "the run is over, or was not heard yet"
    assert not turns.is_due(out(10, done=3), 30)


@pytest.mark.parametrize(
    ("part", "way", "clock", "wanted"),
    [
        (Part(due=10, done=3), THERE, 3, False),
        (Part(due=10, done=3), LATE, 3, False),  # late, and still of use: it is finished first
        (Part(due=10, done=0), LATE, 3, True),
        (Part(due=10, done=3), TOO_LATE, 3, True),
        (Part(due=10, done=3), ELSEWHERE, 3, True),
        (out(10), LATE, 13, False),  # the answer is here, and waits for its step
        (out(10), LATE, 14, True),
        (out(10), TOO_LATE, 13, False),
        (out(10), ELSEWHERE, 11, True),
    ],
)
def test_a_site_goes_to_a_head_when_it_is_time(
    part: Part, way: CatchUp, clock: int, wanted: bool
) -> None:
    assert turns.takes(part, way, clock, rules(4)) is wanted


def test_a_suspended_site_finishes_nothing() -> None:
    part = Part(due=10, done=3)
    assert turns.takes(part, LATE, 3, rules(), suspended=True)


def test_a_site_trains_up_to_what_is_due_first() -> None:
    parts = {"part-0": Part(due=20, done=4), "part-1": out(12), "part-2": Part(done=4)}
    progress = Progress(clock=14, parts=parts)
    assert turns.stretch_end(progress, rules(overlap=4)) == 16
    assert not turns.waits(parts["part-1"], 15, rules(overlap=4))
    assert turns.waits(parts["part-1"], 16, rules(overlap=4))
    parts["part-1"].out = parts["part-1"].due = None
    assert turns.stretch_end(progress, rules(overlap=4)) == 20
    parts["part-0"] = Part(due=14)
    assert turns.stretch_end(progress, rules(overlap=4)) == 15, "nothing trained is nothing brought"
    parts["part-0"].due = None
    assert turns.stretch_end(progress, rules(overlap=4)) is None


def test_a_late_site_goes_on_where_the_others_are_and_all_go_back_with_a_rollback() -> None:
    progress = Progress(clock=14, parts={"part-0": Part(step=10), "part-1": Part(step=5)})
    turns.reached(progress, head(30))
    assert (progress.clock, progress.parts["part-0"].due) == (30, 40)
    turns.reached(progress, head(25, "part-1"))
    assert (progress.clock, progress.parts["part-1"].due) == (30, 35)
    turns.reached(progress, head(10))
    assert progress.clock == 25
    turns.reached(progress, head(5, "part-1"))
    assert (progress.clock, progress.parts["part-1"].due) == (10, 15)
    turns.reached(progress, head(100, inner=0))
    assert progress.parts["part-0"].due is None
