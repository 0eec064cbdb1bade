"""Following a run: a line to each version, a site that is killed once and comes back."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from ayni.demo.model import watch
from ayni.demo.model.watch import Watch
from ayni.demo.stage import StageError


def status(step: int, rounds: int, **more: Any) -> dict[str, Any]:
    losses = {"es": 4.0, "arn": 5.0, "quh": 5.5}
    site = {"site": "santiago", "rounds": rounds, "losses": losses, "why": "training"}
    found = {
        "status": "running",
        "version": step // 10,
        "step": step,
        "steps": 100,
        "sites": [site],
    }
    return found | more


def followed(
    statuses: list[dict[str, Any] | None], why: str | None = None
) -> tuple[Watch, list[str]]:
    said: list[str] = []
    left = iter(statuses)
    one = Watch(
        Console(file=io.StringIO(), force_terminal=True, width=120), said.append,
        look=lambda: next(left), failed=lambda: why,
        kill=lambda site: said.append("KILL"), revive=lambda site: said.append("REVIVE"), called=str.upper,
    )  # fmt: skip
    return one, said


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "AWAY", 0.0)
    monkeypatch.setattr(watch.time, "sleep", lambda seconds: None)


def test_a_site_is_killed_once_comes_back_and_brings_something_again() -> None:
    states = [None, status(0, 0, sites=[]), status(10, 1), status(30, 3), status(40, 3)]
    one, said = followed([*states, status(60, 3), status(70, 4), status(100, 7, status="done")])
    one.follow()
    assert [word for word in said if word.isupper()] == ["KILL", "REVIVE"]
    assert one.rejoined and any("has rejoined" in line and "version 7" in line for line in said)
    assert said[0] == ("version 1, step 10 of 100: loss ES 4.00 · Chile's own (2) 5.25")
    assert sum(line.startswith("version ") for line in said) == 6


def test_a_site_that_died_is_brought_back_even_if_the_run_was_faster(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watch, "AWAY", 1000.0)
    one, said = followed([status(50, 3), status(100, 3, status="done")])
    one.follow()
    assert [word for word in said if word.isupper()] == ["KILL", "REVIVE"] and not one.rejoined


def test_what_several_sites_hold_is_no_country_s_own() -> None:
    one, _ = followed([])
    one.shared = {"es", "pt"}
    losses = [{"es": 4.0, "pt": 3.0}, {"es": 5.0, "pt": 3.5, "guc": 6.0}]
    sites = [
        {"site": site, "rounds": 1, "losses": found, "why": "training"}
        for site, found in zip(("santiago", "bogota"), losses, strict=True)
    ]
    line = one.line(status(10, 1, sites=sites))
    assert line.endswith("loss ES 4.50 · PT 3.25 · Colombia's own (1) 6.00")


def test_a_coordinator_that_ended_ends_the_watching() -> None:
    one, _ = followed([status(10, 1)], why="train ended:\nno room")
    with pytest.raises(StageError, match="no room"):
        one.follow()
