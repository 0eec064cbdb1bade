"""What passes does not end a coordinator: sites hold their allocations while it waits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("torch")

from ayni.client.errors import BadRequest, NotAHub, StoreFull, from_problem
from ayni.lm import run_commands
from tests.lm.world import World, run

FULL = {
    "title": "It cannot be done",
    "detail": "the blob has 9 bytes, and project quinua has 0 of its quota of 5 left; delete files "
    "or ask for a larger quota",
    "code": "quota",
}


class Pauses:
    """The clock of the commands: how often they waited to try again."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        monkeypatch.setattr(run_commands, "time", SimpleNamespace(sleep=self._sleep))

    def _sleep(self, seconds: float) -> None:
        self.count += 1


def failing(function: Callable[..., Any], error: Exception, times: list[int]) -> Callable[..., Any]:
    """A function of which the calls of these numbers fail."""
    calls = iter(range(1 << 20))

    def called(*given: Any, **more: Any) -> Any:
        if next(calls) in times:
            raise error
        return function(*given, **more)

    return called


def coordinated(world: World) -> World:
    """To the end by the command's own loop; sites do what they can while it waits for them."""

    def wait(seconds: float) -> None:
        for site in world.sites.values():
            while site.step():
                pass

    world.hub.wait = wait  # type: ignore[method-assign]
    run_commands._coordinate(world.hub, lambda status: None)
    return world


@pytest.mark.parametrize(
    "error",
    [from_problem(413, FULL), from_problem(507, {}), NotAHub("a proxy's page")],
    ids=["quota", "full disk of the hub", "a proxy's page"],
)
def test_what_passes_is_told_once_and_nothing_is_lost(
    error: Exception,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pauses = Pauses(monkeypatch)
    calm = coordinated(World(tmp_path / "calm", run()).begin()).weights()
    assert pauses.count == 0
    world = World(tmp_path / "full", run()).begin()
    assert world.lines is not None
    down = world.lines.down
    monkeypatch.setattr(down, "send", failing(down.send, error, [0, 1, 2, 6, 7]))
    assert coordinated(world).weights() == calm
    assert pauses.count == 5
    assert capsys.readouterr().err.count(str(error)) == 2  # once each time that it began


def test_a_full_quota_is_no_mistake_of_the_request() -> None:
    full = from_problem(413, FULL)
    assert isinstance(full, StoreFull) and "ask for a larger quota" in str(full)
    assert isinstance(from_problem(413, {"code": "size"}), BadRequest)
