"""The verdict of what was said finds what it is there to find."""

from __future__ import annotations

from tests.fault.talk import Said, broken


def test_each_number_once_and_in_order_is_well() -> None:
    assert broken([Said(1, 1), Said(1, 2), Said(1, 3)], 3, "cl") == []
    assert broken([], 0, "cl") == []


def test_the_next_attempt_may_say_the_last_number_again() -> None:
    assert broken([Said(1, 1), Said(1, 2), Said(2, 2), Said(3, 2), Said(3, 3)], 3, "cl") == []


def test_what_came_twice_was_lost_or_out_of_order_is_told() -> None:
    assert broken([Said(1, 1), Said(1, 1)], 1, "cl") == ["cl: 1 came after 1, in attempt 1"]
    assert broken([Said(1, 1), Said(1, 3)], 3, "cl") == ["cl: 3 came after 1, in attempt 1"]
    assert len(broken([Said(1, 2), Said(1, 1)], 1, "cl")) == 2
    assert broken([Said(1, 1)], 2, "cl") == ["cl: 2 were said, 1 came"]
