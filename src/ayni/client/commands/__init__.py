"""The commands of people: sign in, send tasks, look after them, move files."""

from __future__ import annotations

import typer

from ayni.client.commands import (
    account,
    channels,
    ending,
    following,
    listing,
    places,
    store,
    submit,
    volumes,
)


def register(app: typer.Typer) -> None:
    """Add them to `ayni`."""
    for part in (account, places, submit, listing, following, ending, store, channels, volumes):
        part.register(app)
