"""What may follow what is three tables, and the documentation draws them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ayni.lm.outer.state import GIFT, LANE, VERSION, IllegalMove, LaneState, diagram, moved

PAGE = Path(__file__).parents[3] / "docs" / "developers" / "joint-model.md"


def test_the_diagrams_in_the_documentation_are_the_tables() -> None:
    drawn = re.findall(r"```mermaid\n(stateDiagram.*?)\n```", PAGE.read_text(), re.DOTALL)
    wanted = [diagram(LANE), diagram(GIFT), diagram(VERSION)]
    assert [d for d in drawn if d in wanted] == wanted, (
        f"put the output of python -m ayni.lm.outer.state into {PAGE}"
    )


@pytest.mark.parametrize("table", [LANE, GIFT, VERSION])
def test_every_state_can_be_reached(table: dict) -> None:
    reached = {next(iter(table))}
    for _ in table:
        reached |= {to for state in reached for to in table[state].values()}
    assert reached == set(table) == set(type(next(iter(table))))


def test_a_move_that_the_table_does_not_hold_is_a_fault() -> None:
    with pytest.raises(IllegalMove, match="DONE"):
        moved(LANE, LaneState.DONE, "quorum")
