"""How fast a run goes, and what is told of it."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from ayni.lm import watch_commands
from ayni.lm.outer.watch import contributions
from ayni.lm.watching.alarms import Alarm
from ayni.lm.watching.record import Report
from ayni.lm.watching.shown import showing, shown, span
from ayni.lm.watching.status import Pulse, pace, status
from tests.lm.outer.net import Net, rules
from tests.lm.test_commands import ayni, said
from tests.lm.test_config import written


def report(site: str, base: int, at: float, seconds: float, **losses: float) -> Report:
    return Report(
        site, base, at, losses or {"es": 3.0}, dict.fromkeys(losses or {"es": 1}, 500), seconds
    )


@given(st.lists(st.tuples(st.floats(0, 1e4), st.floats(0, 1e4)), max_size=20))
def test_a_share_is_between_nothing_and_all(rounds: list[tuple[float, float]]) -> None:
    at, found = 0.0, []
    for base, (gap, seconds) in enumerate(rounds):
        at += gap
        found.append(report("cl", base, at, seconds))
    one = pace(found)
    assert one.utilisation is None or 0 <= one.utilisation <= 1
    assert one.tokens_per_second is None or one.tokens_per_second > 0


def test_utilisation_is_the_time_trained_between_reports() -> None:
    found = pace([report("cl", n, 100.0 * n, 80.0) for n in range(5)])
    assert found.utilisation == pytest.approx(0.8)
    assert found.tokens_per_second == pytest.approx(500 / 80)


def test_of_a_site_that_says_no_seconds_nothing_is_known() -> None:
    assert pace([report("cl", n, 100.0 * n, 0.0) for n in range(5)]).utilisation is None


@pytest.fixture
def found(tmp_path: Path) -> dict[str, Any]:
    net, pulse = Net(tmp_path, rules()), Pulse()
    for number in range(3):
        net.round()
        for place, site in enumerate("abc"):
            pulse.report(report(site, number, net.now + place, 4.0, es=3.0, quy=4.0 + place))
            pulse.report(report(site, number, net.now + place, 5.0, es=3.0, quy=4.0 + place))
    net.take()
    records = [record for _, record in net.hub.journal.books()]
    for record in records:
        pulse.record(record)
    alarms = [Alarm(f"k{n}", 0.0, "spike", "a", f"alarm {n}\x1b[31m") for n in range(12)]
    return status(
        net.hub.state, contributions(records), pulse, alarms, offered=12_000_000, now=net.now
    )


def test_a_status_sums_up_its_sites(found: dict[str, Any]) -> None:
    assert (found["version"], found["step"], found["steps"]) == (3, 15, 1000)
    assert found["losses"] == {"es": 3.0, "quy": 5.0}
    assert found["tokens"] == sum(site["tokens"] for site in found["sites"]) > 0
    assert found["tokens_per_second"] == pytest.approx(3 * 1000 / 5)
    assert found["bytes"]["up"] == sum(site["bytes"] for site in found["sites"])
    assert 0 < found["utilisation"] <= 1
    assert found["seconds_left"] > 0
    assert [alarm["key"] for alarm in found["alarms"]] == [f"k{n}" for n in range(2, 12)]
    assert json.loads(json.dumps(found)) == found


@pytest.mark.parametrize("width", [50, 80, 200])
def test_it_fits_the_terminal_and_holds_no_control_characters(
    found: dict[str, Any], width: int
) -> None:
    console = Console(file=io.StringIO(), width=width, highlight=False)
    console.print(shown(found, console))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "\x1b" not in text
    assert "version 3, step 15 of 1000" in text
    assert "quy 5.000" in text and "12.0 MB down" in " ".join(text.split())
    assert max(map(len, text.splitlines())) <= width


def test_elsewhere_each_version_is_a_line_and_each_new_alarm_one(
    found: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    new = {"key": "new", "at": 0.0, "what": "spike", "site": "a", "text": "it rose"}
    with showing(as_json=False) as show:
        show(found)
        show(found)
        show({**found, "alarms": [*found["alarms"], new]})
        show({**found, "version": 4, "alarms": [*found["alarms"], new]})
    said = capsys.readouterr()
    assert [line.split(", ")[1] for line in said.out.splitlines()] == ["version 3", "version 4"]
    assert said.err.count("it rose") == 1 and "alarm 11" not in said.err


def test_the_command_shows_what_the_coordinator_wrote_and_follows_it_to_the_end(
    found: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path)
    place = tmp_path / "prueba" / "status.json"
    place.parent.mkdir()

    def go_on(_: float) -> None:
        version = json.loads(place.read_text())["version"] + 1
        state = "done" if version == 5 else "running"
        place.write_text(json.dumps({**found, "version": version, "status": state}))

    place.write_text(json.dumps({**found, "at": 0.0}))
    assert said("status", path)["at"] == 0.0
    assert "is the coordinator at work?" in ayni("status", path).stdout
    monkeypatch.setattr(watch_commands.time, "sleep", go_on)
    lines = ayni("status", path, "--follow").stdout.splitlines()
    assert [line.split(", ")[:2] for line in lines] == [
        ["run: running", "version 3"],
        ["run: running", "version 4"],
        ["run: done", "version 5"],
    ]


def test_in_json_each_version_is_all_that_is_known(
    found: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    with showing(as_json=True) as show:
        show(found)
        show({**found, "version": 4})
    assert [json.loads(one)["version"] for one in capsys.readouterr().out.splitlines()] == [3, 4]


def test_times_to_wait_are_said_roughly() -> None:
    assert [span(s) for s in (90.0, 300.0, 7300.0, 400_000.0)] == ["90 s", "5 min", "2 h", "5 d"]
