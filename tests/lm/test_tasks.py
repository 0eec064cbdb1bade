"""Sites that never join, and tasks that end before the run: seen, told, not waited for."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

pytest.importorskip("torch")

from ayni.client.errors import HubUnreachable
from ayni.client.handles import TaskHandle
from ayni.client.models import TaskInfo
from ayni.lm import tasks
from ayni.lm.tasks import SiteTask, Tasks
from ayni.lm.watching.shown import line, shown
from tests.lm.world import World, run


class Hub:
    """A network that has tasks, and counts how often it is asked."""

    project = "quinua"

    def __init__(self, *found: TaskInfo, log: str = "") -> None:
        self.found, self.said, self.asked = list(found), log, 0

    def tasks(self, *, tag: tuple[str, str], limit: int) -> Iterator[TaskHandle]:
        assert tag == (tasks.TAG, "prueba")
        self.asked += 1
        for info in self.found:
            handle: Any = TaskHandle(self, info.id, info)  # type: ignore[arg-type]
            handle.log = lambda stderr: SimpleNamespace(text=self.said)
            yield handle


def task(id: str, site: str, state: str, why: str = "") -> TaskInfo:
    reason = {"code": "exit", "message": why} if why else None
    told = {"id": id, "name": f"prueba-{site}", "state": state, "reason": reason}
    return TaskInfo.model_validate(told)


def test_the_newest_task_of_each_site_is_found_by_one_question_now_and_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [1000.0]
    monkeypatch.setattr(tasks.time, "monotonic", lambda: now[0])
    hub: Any = Hub(
        task("9", "cdmx", "QUEUED"),
        task("8", "bogota", "EXECUTOR_ERROR", "a command ended with exit code 2"),
        task("7", "cdmx", "CANCELED"),
        log="one\npack the texts again, with --held-out 0.01 or more\n\n",
    )
    look = Tasks(hub, run())
    found = look()
    assert found["cdmx"].said == "its task 9 is QUEUED (ayni why 9)"
    assert found["bogota"].said == (
        "its task 8 ended as EXECUTOR_ERROR: a command ended with exit code 2; "
        "pack the texts again, with --held-out 0.01 or more"
    )
    now[0] += tasks.EVERY - 1
    hub.found[0] = task("9", "cdmx", "RUNNING")
    assert look() == found and hub.asked == 1
    now[0] += 2
    assert look()["cdmx"].state == "RUNNING" and hub.asked == 2


def test_a_hub_that_does_not_answer_leaves_what_was_known(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(tasks.time, "monotonic", lambda: now[0])
    hub: Any = Hub(task("9", "cdmx", "QUEUED"))
    look = Tasks(hub, run())
    found = look()

    def gone(**_: Any) -> Any:
        raise HubUnreachable("no way")

    hub.tasks = gone
    now[0] += tasks.EVERY
    assert look() == found


def test_a_site_that_has_not_joined_is_shown_with_its_task(tmp_path: Path) -> None:
    world = World(tmp_path, run(quorum=2)).begin("bogota")
    world.hub._ask_tasks = lambda: {"cdmx": SiteTask("9", "QUEUED", False)}
    world.hub.step()
    found = world.hub.status()
    why = {one["site"]: one["why"] for one in found["sites"]}
    assert set(why) == {"bogota", "cdmx", "santiago"}
    assert why["cdmx"] == "has not joined; its task 9 is QUEUED (ayni why 9)"
    assert why["santiago"] == "has not joined"
    assert line(found).endswith("step 0 of 24; not joined: cdmx, santiago")
    console = Console(width=200, file=io.StringIO())
    console.print(shown(found, console))
    assert "its task 9 is QUEUED" in console.file.getvalue()  # type: ignore[attr-defined]


def test_a_task_that_ended_is_told_once_and_its_site_is_not_waited_for(tmp_path: Path) -> None:
    world = World(tmp_path, run(quorum=2)).begin()
    world.turn()
    over = {
        "cdmx": SiteTask("9", "EXECUTOR_ERROR", True, "exit code 2"),
        "santiago": SiteTask("8", "RUNNING", False),
    }
    world.hub._ask_tasks = lambda: over
    for _ in range(3):
        world.hub.step()
    found = world.hub.status()
    (alarm,) = [one for one in found["alarms"] if one["what"] == "left"]
    assert alarm["site"] == "cdmx"
    assert "its task 9 ended as EXECUTOR_ERROR: exit code 2" in alarm["text"]
    (one,) = [one for one in found["sites"] if one["site"] == "cdmx"]
    assert not one["awaited"]
    assert one["why"] == "it left the run; its task 9 ended as EXECUTOR_ERROR: exit code 2"
    before = world.version
    world.turn("bogota", "santiago")
    world.turn("bogota", "santiago")
    assert world.version > before


def test_a_site_whose_new_task_joins_takes_part_again(tmp_path: Path) -> None:
    world = World(tmp_path, run(quorum=2)).begin()
    world.turn()
    world.hub._ask_tasks = lambda: {"cdmx": SiteTask("9", "CANCELED", True)}
    world.hub.step()
    assert not world.hub.coordinator.state.sites["cdmx"].here
    world.site("cdmx")
    world.hub.step()
    world.hub.step()
    assert world.hub.coordinator.state.sites["cdmx"].here


def test_a_task_that_ended_before_its_site_joined_is_told(tmp_path: Path) -> None:
    world = World(tmp_path, run(quorum=2)).begin("bogota")
    world.hub._ask_tasks = lambda: {"cdmx": SiteTask("9", "CANCELED", True, "cancelled by Ana")}
    world.hub.step()
    found = world.hub.status()
    assert [(one["what"], one["site"]) for one in found["alarms"]] == [("left", "cdmx")]
    assert "ended as CANCELED: cancelled by Ana" in found["alarms"][0]["text"]
