"""The frame of the `ayni` command: parts, versions and how failures are told."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint, entry_points, metadata

import pytest
import typer
from typer.testing import CliRunner

from ayni import __version__
from ayni.cli import frame
from ayni.errors import UserError


def _part(name: str, value: str) -> EntryPoint:
    return EntryPoint(name=name, value=value, group=frame.GROUP)


def register(app: typer.Typer) -> None:
    """A part of these tests: commands that fail in each way."""

    @app.command()
    def mistake() -> None:
        raise UserError("memory: '8 gigs' is no size;\n write 8GiB")

    @app.command()
    def fault() -> None:
        raise ZeroDivisionError("a bug")

    @app.command()
    def count(number: int) -> None:
        raise typer.Exit(number)

    @app.command()
    def interrupted() -> None:
        raise KeyboardInterrupt


@pytest.fixture
def with_this_part(monkeypatch: pytest.MonkeyPatch) -> None:
    real = frame.build
    monkeypatch.setattr(frame, "build", lambda: real([_part("x", f"{__name__}:register")]))


def test_a_persons_mistake_is_one_line_and_exit_code_2(
    with_this_part: None, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        frame.main(["mistake"])
    assert exit_.value.code == 2
    assert capsys.readouterr().err == "ayni: memory: '8 gigs' is no size; write 8GiB\n"


def test_a_fault_of_ayni_shows_no_traceback_unless_asked(
    with_this_part: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AYNI_DEBUG", raising=False)
    with pytest.raises(SystemExit) as exit_:
        frame.main(["fault"])
    err = capsys.readouterr().err
    assert exit_.value.code == 70
    assert "ZeroDivisionError: a bug" in err
    assert "Traceback" not in err
    monkeypatch.setenv("AYNI_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        frame.main(["fault"])


def test_ctrl_c_is_exit_code_130(with_this_part: None) -> None:
    with pytest.raises(SystemExit) as exit_:
        frame.main(["interrupted"])
    assert exit_.value.code == 130


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("mistake --nonsense", "--nonsense; see 'ayni mistake --help'"),
        ("count x", "'number'"),
        ("count", "Missing argument 'number'; see 'ayni count --help'"),
        ("mistke", "No such command 'mistke'. Did you mean 'mistake'?; see 'ayni --help'"),
    ],
)
def test_wrong_arguments_are_one_line_and_exit_code_2(
    with_this_part: None, capsys: pytest.CaptureFixture[str], arguments: str, words: str
) -> None:
    with pytest.raises(SystemExit) as exit_:
        frame.main(arguments.split())
    err = capsys.readouterr().err
    assert exit_.value.code == 2
    assert err.startswith("ayni: ")
    assert err.count("\n") == 1
    assert words in err


def test_without_arguments_the_help_is_shown_and_no_mistake_named(
    with_this_part: None, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        frame.main([])
    told = capsys.readouterr()
    assert exit_.value.code == 2
    assert "Usage: ayni" in told.out + told.err
    assert "ayni: " not in told.err


@pytest.mark.parametrize(("arguments", "code"), [("count 0", 0), ("count 3", 3)])
def test_a_command_chooses_its_exit_code(with_this_part: None, arguments: str, code: int) -> None:
    with pytest.raises(SystemExit) as exit_:
        frame.main(arguments.split())
    assert (exit_.value.code or 0) == code


def test_a_part_that_lacks_its_extra_is_left_out_and_named_in_the_help() -> None:
    app = frame.build([_part("ghost", "no_such_package.commands:register")])
    result = CliRunner().invoke(app, ["--help"])
    assert result.exit_code == 0
    assert "ghost (needs no_such_package)" in result.output


@pytest.mark.parametrize(
    ("command", "extra"),
    [("hub status --json", "hub"), ("site --help", "agent"), ("demo", "demo")],
)
def test_a_command_that_is_not_installed_says_how_to_install_it(
    command: str, extra: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = frame.build
    parts = [_part(name, "no_such_package.commands:register") for name in ("hub", "site", "demo")]
    monkeypatch.setattr(frame, "build", lambda: real(parts))
    with pytest.raises(SystemExit) as exit_:
        frame.main(command.split())
    err = capsys.readouterr().err
    assert exit_.value.code == 2
    assert err.count("\n") == 1
    assert "there is no no_such_package" in err
    assert f"pip install 'ayni[{extra}]'" in err


def test_every_optional_part_has_an_extra_of_the_distribution() -> None:
    extras = metadata("ayni").get_all("Provides-Extra") or []
    parts = {part.name for part in entry_points(group=frame.GROUP)}
    assert set(frame.EXTRAS) < parts
    assert set(frame.EXTRAS.values()) <= set(extras)


def test_the_version_is_said() -> None:
    result = CliRunner().invoke(frame.build([]), ["--version"])
    assert (result.exit_code, result.output) == (0, f"ayni {__version__}\n")


def test_a_reader_that_goes_away_is_no_error_worth_a_traceback() -> None:
    shell = [sys.executable, "-c", "from ayni.cli import main; main()"]
    process = subprocess.Popen(
        [*shell, "--help"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    process.stdout.close()
    _, err = process.communicate(timeout=60)
    assert "Traceback" not in err
