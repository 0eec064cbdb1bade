"""`ayni demo`: mistakes are told before anything is started."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ayni.cli.frame import build
from ayni.demo import stage
from ayni.errors import UserError


@pytest.fixture(autouse=True)
def _nothing_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: stage.Process) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(stage.Process, "start", refuse)


def mistake(*options: object) -> str:
    done = CliRunner().invoke(build(), ["demo", *map(str, options)])
    assert isinstance(done.exception, UserError), done.exception
    return str(done.exception)


@pytest.mark.parametrize("option", ["--state", "--out"])
@pytest.mark.parametrize("place", ["file", "file/in/it"])
def test_a_file_is_no_folder(
    option: str, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    assert mistake(option, place).startswith(f"{option}: ")


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    assert "not empty" in mistake("--state", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize("place", ["", "none/facts.json"])
def test_facts_that_could_not_be_written_in_the_end_are_refused_at_once(
    place: str, tmp_path: Path
) -> None:
    assert mistake("--json", tmp_path / place).startswith("--json: ")


def test_the_port_of_another_program_is_not_taken_for_ones_own(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert mistake("--port", port, "--state", tmp_path / "new").startswith(f"--port: {port} ")
    assert not (tmp_path / "new").exists()
