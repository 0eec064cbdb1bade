"""`ayni login`."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import httpx
import typer

from ayni.client import credentials
from ayni.client.commands import console
from ayni.client.commands.console import Json
from ayni.client.connection import Connection
from ayni.client.models import Me

EPILOG = console.examples(
    "ayni login https://hub.example.org",
    'echo "$TOKEN" | ayni login https://hub.example.org',
    note="AYNI_HUB and AYNI_TOKEN, where they are set, go before what is stored.",
)
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def register(app: typer.Typer) -> None:
    app.command(epilog=EPILOG)(login)


def login(
    hub: Annotated[
        str | None, typer.Argument(help="The hub's address, as https://hub.example.org.")
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(help="The token. Without it you are asked, and nobody sees it."),
    ] = None,
    json_: Json = False,
) -> None:
    """Remember a hub and your token for it, after trying them. The token is kept for your eyes only."""
    hub = credentials.clean_hub(hub or os.environ.get("AYNI_HUB") or _ask("Hub", hide=False))
    found = credentials.Credentials(hub, credentials.clean_token(token or _ask("Token", hide=True)))
    connection = open_connection(found)
    try:
        me = Me.model_validate(connection.get("/me"))
    finally:
        connection.close()
    kept = credentials.store(found)
    if json_:
        console.emit({"hub": hub, "stored": str(kept), **me.model_dump(mode="json")})
        return
    until = f", until {console.when(me.expires)}" if me.expires else ""
    console.out().print(
        console.plain(f"{me.person.name} <{me.person.email}> in project {me.project.name}{until}"),
        soft_wrap=True,
    )
    console.say(f"kept in {kept}")
    url = httpx.URL(hub)
    if url.scheme == "http" and url.host not in _LOOPBACK:
        console.say(f"careful: {hub} is not encrypted; whoever sits between reads the token")
    if os.environ.get("AYNI_HUB") or os.environ.get("AYNI_TOKEN"):
        console.say("AYNI_HUB or AYNI_TOKEN is set here, and goes before what was stored now")


def open_connection(found: credentials.Credentials) -> Connection:
    return Connection(found)


def _ask(what: str, hide: bool) -> str:
    if sys.stdin.isatty():
        answer: str = typer.prompt(what, hide_input=hide, err=True)
        return answer
    return sys.stdin.readline().strip()
