"""What holds of every command of `ayni`, whichever part brings it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import typer

from ayni.cli.frame import build

#: They run until they are stopped, or print a file: there is no answer to put into JSON.
NO_ANSWER = {"hub run", "site run", "site unit"}


def commands(
    group: typer.core.TyperGroup, *above: str
) -> Iterator[tuple[str, typer.core.TyperCommand]]:
    for name, command in group.commands.items():
        if isinstance(command, typer.core.TyperGroup):
            yield from commands(command, *above, name)
        elif isinstance(command, typer.core.TyperCommand):
            yield " ".join((*above, name)), command


def every_command() -> dict[str, typer.core.TyperCommand]:
    root = typer.main.get_command(build())
    assert isinstance(root, typer.core.TyperGroup)
    return dict(commands(root))


COMMANDS = every_command()


def test_all_parts_are_here() -> None:
    assert {"submit", "demo", "hub run", "site dataset add"} <= COMMANDS.keys()


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_an_example_of_that_command(name: str) -> None:
    text = " ".join(f"{COMMANDS[name].help} {COMMANDS[name].epilog}".split())
    _, word, examples = text.partition("Example")
    assert word and f"ayni {name}" in examples


@pytest.mark.parametrize("name", sorted(COMMANDS.keys() - NO_ANSWER))
def test_a_command_that_answers_does_so_in_json_too(name: str) -> None:
    assert any("--json" in option.opts for option in COMMANDS[name].params)


@pytest.mark.parametrize("name", COMMANDS)
def test_each_argument_and_option_says_what_it_is(name: str) -> None:
    silent = [p.name for p in COMMANDS[name].params if not getattr(p, "help", None)]
    assert not silent
