from __future__ import annotations

import json
from pathlib import Path

import pytest
from bench.simulate.command import main


def test_the_command_compares_and_writes_what_it_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found, chart = tmp_path / "found.json", tmp_path / "chart.svg"
    assert (
        main(["--tasks", "300", "--load", "1.5", "--json", str(found), "--chart", str(chart)]) == 0
    )
    said = capsys.readouterr().out
    assert "= alliance, ours: mean wait" in said
    assert "= alliance, slowdown at home over ours:" in said
    policies = json.loads(found.read_text())["policies"]
    assert set(policies) == {"ours", "home", "random", "list"}
    assert set(policies["home"]["member_gain"].values()) == {1.0}
    assert chart.read_text().startswith("<svg")


def test_a_document_names_the_command_and_shows_the_chart(tmp_path: Path) -> None:
    path = tmp_path / "performance.md"
    assert (
        main(["--tasks", "200", "--policy", "ours,home", "--loss", "0.1", "--document", str(path)])
        == 0
    )
    text = path.read_text()
    assert (
        "`python -m bench.simulate --profile alliance --policy ours,home --seed 1 --tasks 200 --loss 0.1`"
        in text
    )
    assert "(simulation-alliance.svg)" in text
    assert (tmp_path / "simulation-alliance.svg").read_text().startswith("<svg")


def test_a_log_is_replayed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "log.swf"
    lines = [
        f"{n} {n} 0 50 {1 + n % 8} -1 -1 -1 -1 -1 1 {n % 5} 1 -1 -1 -1 -1 -1" for n in range(90)
    ]
    log.write_text("; MaxProcs: 16\n" + "\n".join(lines))
    assert main(["--log", str(log), "--policy", "ours,home"]) == 0
    assert "90 tasks of log.swf" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--policy", "ours,best"], "no policy 'best'"),
        (["--tasks", "many"], "whole number"),
        (["--loss", "1"], "from 0 to 0.9"),
        (["--load", "0"], "more than 0"),
        (["--chart", "/nowhere/at/all.svg"], "no folder /nowhere/at"),
    ],
)
def test_a_wrong_option_is_named_in_one_line(
    arguments: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert named in capsys.readouterr().err


def test_a_missing_log_is_named_without_a_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--log", "/nowhere.swf"]) == 2
    assert capsys.readouterr().err.startswith("bench.simulate: /nowhere.swf cannot be read")


def test_a_grids_log_is_replayed_on_its_partitions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "grid.swf"
    line = "{n} {n} 0 50 {procs} -1 -1 {procs} 600 -1 1 {user} 1 -1 -1 {partition} -1 -1"
    lines = [line.format(n=n, procs=1 + n % 4, user=n % 7, partition=1 + n % 3) for n in range(90)]
    log.write_text("\n".join(lines))
    assert main(["--log", str(log), "--load", "0.9"]) == 0
    said = capsys.readouterr().out
    assert "3 sites, 90 tasks of grid.swf" in said
    assert "partition-003" in said
