"""`ayni demo`: mistakes are told before anything is started."""

from __future__ import annotations

import io
import socket
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from ayni.cli.frame import build
from ayni.demo import commands, stage
from ayni.demo.model import story
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


def test_a_collection_that_is_none_or_that_nobody_would_read_is_refused(tmp_path: Path) -> None:
    assert mistake("--corpus", tmp_path / "none").startswith("--corpus: ")
    (tmp_path / "texts").mkdir()
    assert mistake("--corpus", tmp_path / "texts").startswith("--corpus: ")
    (tmp_path / "texts" / "a.txt").write_text("texto")
    assert mistake("--corpus", tmp_path / "texts" / "a.txt").startswith("--corpus: ")
    for option in (["--atlas"], ["--slurm", tmp_path / "clusters.json"]):
        assert option[0] in mistake("--corpus", tmp_path / "texts", *option)


@pytest.mark.parametrize("option", ["--state", "--out"])
def test_what_is_made_is_not_put_among_the_texts(option: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("texto")
    assert mistake("--corpus", tmp_path, option, tmp_path / "new").startswith(f"{option}: ")
    assert not (tmp_path / "new").exists()


def test_a_collection_for_a_model_that_cannot_be_had_here_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(story, "missing", lambda: "torch")
    with pytest.raises(UserError, match=r"--corpus: .*needs torch.*pip install"):
        commands._second(Console(file=io.StringIO()), Path("texts"), False, None)


@pytest.mark.parametrize(
    ("lacking", "options", "told"),
    [
        ("torch", {}, "Only the atlas: the model needs torch"),
        (None, {"slurm": Path("clusters.json")}, "Over Slurm the demo is the atlas"),
        (None, {"atlas": True}, ""),
    ],
)
def test_where_the_model_s_part_is_left_out_one_line_says_why(
    lacking: str | None, options: dict[str, Any], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(story, "missing", lambda: lacking)
    shown = io.StringIO()
    wanted = {"corpus": None, "atlas": False, "slurm": None} | options
    assert commands._second(Console(file=shown, width=300), **wanted) is None
    assert shown.getvalue().startswith(told) and shown.getvalue().count("\n") == bool(told)


def test_where_all_is_there_the_model_follows_the_atlas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(story, "missing", lambda: None)
    found = commands._second(Console(file=io.StringIO()), Path("texts"), False, None)
    assert isinstance(found, story.ModelStory) and found.corpus == Path("texts")
