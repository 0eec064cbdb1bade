"""A site that its operator drains, or that has announced maintenance."""

from __future__ import annotations

import json
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ayni.agent import closures
from ayni.agent.closures import Closures
from ayni.cli.frame import build
from ayni.errors import UserError
from ayni.protocol.policy import Window

NOON, EVENING = 1_000_000.0, 1_020_000.0
MAINTENANCE = Closures(windows=[Window(begin=NOON, end=EVENING, why="new switches")])


def test_a_task_that_ends_before_the_maintenance_is_taken() -> None:
    assert MAINTENANCE.against(3600, NOON - 3600) is None


@pytest.mark.parametrize("now", [NOON - 3599, NOON, EVENING - 1])
def test_a_task_that_would_reach_into_the_maintenance_is_not(now: float) -> None:
    reason = MAINTENANCE.against(3600, now)
    assert reason is not None
    assert (reason.code, reason.parameters["why"]) == ("maintenance", "new switches")


def test_when_the_maintenance_is_over_all_is_taken() -> None:
    assert MAINTENANCE.against(1e9, EVENING) is None


def test_of_several_windows_the_next_one_counts() -> None:
    later = Window(begin=EVENING + 100, end=EVENING + 200)
    found = Closures(windows=[later, *MAINTENANCE.windows])
    assert found.against(100, EVENING) is None
    assert found.against(101, EVENING) is not None


def test_a_drained_site_takes_nothing_and_says_why() -> None:
    reason = Closures(draining="moving").against(1, NOON)
    assert reason is not None
    assert (reason.code, reason.message) == (
        "draining", "takes no new tasks, by its operator: moving",
    )  # fmt: skip


def test_nothing_is_closed_where_nothing_was_said(tmp_path: Path) -> None:
    assert closures.read(tmp_path).against(1e9, NOON) is None


def test_a_file_that_cannot_be_understood_is_named(tmp_path: Path) -> None:
    (tmp_path / closures.FILE).write_text("{")
    with pytest.raises(UserError, match=r"closures\.json"):
        closures.read(tmp_path)


# --- the commands -----------------------------------------------------------------------------


@pytest.fixture
def site(tmp_path: Path) -> Path:
    path = tmp_path / "agent.toml"
    path.write_text('hub = "http://127.0.0.1:1"\nstate = "state"\n')
    (tmp_path / "state").mkdir()
    return path


def run(site: Path, *words: str, code: int = 0) -> Any:
    done = CliRunner().invoke(build(), ["site", *words, "--config", str(site)])
    assert done.exit_code == code, done.output
    return done.output


def test_an_operator_drains_and_opens_again(site: Path) -> None:
    assert run(site, "drain", "--why", "moving") == "draining: moving\n"
    assert closures.read(site.parent / "state").draining == "moving"
    assert run(site, "undrain") == "open: nothing is announced\n"
    assert closures.read(site.parent / "state").draining is None


def test_maintenance_is_announced_shown_and_forgotten(site: Path) -> None:
    begin, end = (datetime.fromtimestamp(time.time() + s).isoformat() for s in (3600, 7200))
    run(site, "maintenance", "--from", begin, "--to", end, "--why", "new switches")
    told = json.loads(run(site, "maintenance", "--json"))
    assert [w["why"] for w in told["windows"]] == ["new switches"]
    assert told["windows"][0]["begin"] == pytest.approx(datetime.fromisoformat(begin).timestamp())
    assert "new switches" in run(site, "maintenance")
    assert run(site, "maintenance", "--clear") == "open: nothing is announced\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--from", "2030-01-01"), "--from and --to"),
        (("--from", "2030-01-02", "--to", "2030-01-01"), "--to"),
        (("--from", "2020-01-01", "--to", "2020-01-02"), "is past"),
        (("--from", "soon", "--to", "2030-01-01"), "--from 'soon'"),
    ],
)
def test_times_that_cannot_be_are_refused(site: Path, words: tuple[str, ...], said: str) -> None:
    done = CliRunner().invoke(build(), ["site", "maintenance", *words, "--config", str(site)])
    assert isinstance(done.exception, UserError)
    assert said in str(done.exception)
    assert closures.read(site.parent / "state") == Closures()
