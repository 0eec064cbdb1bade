"""`ayni hub …`: what the hub's operator does."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import django  # noqa: F401 - light; where it is missing, `ayni` says that the hub is not installed
import typer

from ayni.hub.commands import bans, machine, people, sites
from ayni.hub.commands.frame import use_state

hub = typer.Typer(
    help="Run a hub: its people, projects and sites.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@hub.callback()
def _options(
    state: Annotated[
        Path | None,
        typer.Option(help="The hub's folder (AYNI_HUB_STATE).", envvar="AYNI_HUB_STATE"),
    ] = None,
) -> None:
    use_state(state)


for part in (machine, people, sites, bans):
    part.register(hub)


def register(app: typer.Typer) -> None:
    """Add the group to `ayni`."""
    app.add_typer(hub, name="hub")
