"""docs/performance.md: what `python -m bench --write` keeps and what it replaces."""

from __future__ import annotations

from bench.__main__ import Run, document


def test_a_run_replaces_its_own_figures_and_keeps_those_of_others() -> None:
    first = document(
        [Run("creates", "monday", "= a: 1/s"), Run("store", "monday", "noise\n= b: 2 (3 wanted)")],
        "",
        "<!-- simulations -->",
    )
    second = document([Run("store", "friday", "= b: 4 (3 wanted)")], first, "<!-- simulations -->")
    assert "| a | 1/s | `python -m bench.creates` |" in second
    assert "| b | 4 (3 wanted) | `python -m bench.store` |" in second
    assert "noise" not in second
    assert (second.count("monday"), second.count("friday")) == (1, 1)
    assert second.endswith("<!-- simulations -->")


def test_writing_nothing_new_changes_nothing() -> None:
    text = document([Run("creates", "monday", "= a: 1/s")], "", "")
    assert document([], text, "") == text
