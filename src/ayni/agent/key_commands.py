"""`ayni site key show|new`: the key by which this site signs what its tasks say on channels."""

from __future__ import annotations

import json

import typer

from ayni.agent.config import load
from ayni.agent.options import Config, Json


def register(site: typer.Typer) -> None:
    """Add the commands to `ayni site`."""
    key = typer.Typer(no_args_is_help=True, help="The key that signs what this site's tasks say.")
    key.command("show")(show)
    key.command("new")(new)
    site.add_typer(key, name="key")


def show(config: Config = None, as_json: Json = False) -> None:
    """Print the public key. Read it to those who pin it, by another way than the hub.

    Example: ayni site key show
    """
    from ayni.agent import identity

    _print(identity.signer(load(config)).public, as_json)


def new(config: Config = None, as_json: Json = False) -> None:
    """Make a new key, because the old one may be known to others, or is lost. Restart the agent then.

    Whoever has pinned the old one refuses this site's messages until they have been told the new one.
    Example: ayni site key new
    """
    from ayni.agent import identity

    _print(identity.renew_signer(load(config)).public, as_json)
    if not as_json:
        typer.echo("restart the agent, and tell those who read this site's messages", err=True)


def _print(public: str, as_json: bool) -> None:
    typer.echo(json.dumps({"key": public}) if as_json else public)
