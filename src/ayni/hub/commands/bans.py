"""`ayni hub ban` and `ayni hub unban`: effect at once, for people, projects and sites."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ayni.errors import UserError
from ayni.hub.commands.frame import Json, django, emit, find

Kind = Annotated[str, typer.Argument(help="person, project or site.")]
Name = Annotated[str, typer.Argument(help="The e-mail address, or the name.")]


def register(app: typer.Typer) -> None:
    app.command(epilog='Example:\n\n  ayni hub ban person eve@example.org --why "key was stolen"')(
        ban
    )
    app.command(epilog="Example:\n\n  ayni hub unban person eve@example.org")(unban)


def ban(
    kind: Kind,
    name: Name,
    why: Annotated[str, typer.Option(help="The reason that they are told.")] = "",
    json_: Json = False,
) -> None:
    """Shut somebody out: no request is answered any more, queued and running tasks end.

    A banned site gets nothing and is not believed; what it had is done elsewhere.
    """
    if len(why) > 500:
        raise UserError("why: must have at most 500 characters")
    row = _find(kind, name)
    from django.utils import timezone

    from ayni.hub.network.bans import enforce

    row.banned_at, row.banned_why = row.banned_at or timezone.now(), why
    row.save(update_fields=["banned_at", "banned_why"])
    ended = enforce()
    data = {"kind": kind, "name": name, "why": why, "ended": ended}
    emit(data, json_, f"{kind} {name} is banned; {ended} tasks or attempts were ended")


def unban(kind: Kind, name: Name, json_: Json = False) -> None:
    """Let them in again. What was cancelled stays so."""
    row = _find(kind, name)
    row.banned_at, row.banned_why = None, ""
    row.save(update_fields=["banned_at", "banned_why"])
    emit({"kind": kind, "name": name}, json_, f"{kind} {name} is banned no more")


def _find(kind: str, name: str) -> Any:
    django()
    from ayni.hub.accounts.models import Person
    from ayni.hub.calls.models import Project
    from ayni.hub.network.models import Site

    if kind == "person":
        return find(Person, "person", "write the e-mail address", email=name.lower())
    if kind == "project":
        return find(Project, "project", "write its short name", name=name)
    if kind == "site":
        return find(Site, "site", "see 'ayni hub site ls'", name=name)
    raise UserError(f"{kind!r} cannot be banned; write person, project or site")
