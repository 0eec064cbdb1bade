"""`ayni hub site …` and `ayni hub status`."""

from __future__ import annotations

import os
import time
from typing import Annotated, Any

import typer

from ayni.errors import UserError
from ayni.hub.commands.frame import Json, django, emit, find, table

Name = Annotated[str, typer.Argument(help="The site's name.")]


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Supercomputing centres that offer capacity.", no_args_is_help=True)
    for name, function, example in (
        ("add", add, 'ayni hub site add leftraru "NLHPC" --institution "Universidad de Chile"'),
        ("code", code, "ayni hub site code leftraru"),
        ("drain", drain, "ayni hub site drain leftraru"),
        ("undrain", undrain, "ayni hub site undrain leftraru"),
        ("ls", ls, "ayni hub site ls"),
    ):
        group.command(name, epilog=f"Example:\n\n  {example}")(function)
    app.add_typer(group, name="site")
    app.command(epilog="Example:\n\n  ayni hub status --json")(status)


def add(
    name: Annotated[str, typer.Argument(help="Small letters, digits and '-'.")],
    title: Annotated[str, typer.Argument(help="For people.")],
    institution: Annotated[str | None, typer.Option(help="Name of the institution.")] = None,
    member: Annotated[
        str | None, typer.Option(help="Code of the member, if it has only one institution.")
    ] = None,
    latitude: Annotated[
        float | None, typer.Option(min=-90, max=90, help="Degrees north, for the map.")
    ] = None,
    longitude: Annotated[
        float | None, typer.Option(min=-180, max=180, help="Degrees east, for the map.")
    ] = None,
    json_: Json = False,
) -> None:
    """Add a site and print the code with which its agent registers, once, within a day."""
    django()
    from ayni.hub.calls.models import Project
    from ayni.hub.names import check_name
    from ayni.hub.network.models import Site

    check_name(name, Site, Project)
    if len(title) > 200:
        raise UserError("title: must have at most 200 characters")
    site = Site.objects.create(
        name=name,
        title=title,
        institution=_institution(institution, member),
        latitude=latitude,
        longitude=longitude,
    )
    _show_code(site, json_)


def code(name: Name, json_: Json = False) -> None:
    """A new registration code for a site. The old one becomes void; the site's key does not yet."""
    django()
    _show_code(_site(name), json_)


def drain(name: Name, json_: Json = False) -> None:
    """Send a site nothing new, and ask back what it has not started."""
    _set_draining(name, True)
    emit({"site": name, "draining": True}, json_, f"{name} is draining; what runs there goes on")


def undrain(name: Name, json_: Json = False) -> None:
    """Let a site take tasks again."""
    _set_draining(name, False)
    emit({"site": name, "draining": False}, json_, f"{name} takes tasks again")


def ls(json_: Json = False) -> None:
    """List the sites and how they are."""
    django()
    table(_rows(), json_, "sites", "there are no sites; add one with 'ayni hub site add'")


def status(json_: Json = False) -> None:
    """How the hub is: its sites, what is queued and what runs."""
    django()
    from django.conf import settings
    from django.db.models import Count

    from ayni.hub.network.hub import this_hub
    from ayni.hub.tasks.life import FINAL, TaskState
    from ayni.hub.tasks.models import Task

    unfinished = [s.value for s in TaskState if s not in FINAL]
    counts = {
        TaskState(row["state"]).name: row["n"]
        for row in Task.objects.filter(state__in=unfinished).values("state").annotate(n=Count("*"))
    }
    where = _where()
    sites = _rows()
    if json_:
        data = {**where, "state": str(settings.STATE), "epoch": this_hub().epoch}
        emit({**data, "tasks": counts, "sites": sites}, True, "")
        return
    words = {True: "running", False: "not running", None: "on PostgreSQL"}[where["running"]]
    words += f", listening on {where['listening']}" if where["listening"] else ""
    print(f"hub {where['hub'] or ''}".rstrip() + f": {words}; state in {settings.STATE}")
    print("tasks: " + (", ".join(f"{n} {s}" for s, n in counts.items()) or "none unfinished"))
    table(sites, False, "sites", "there are no sites; add one with 'ayni hub site add'")


def _where() -> dict[str, Any]:
    """The hub's address, as the running hub has it or as this shell was told; else it is not known."""
    from django.conf import settings

    from ayni.hub.serve import whereabouts

    told = settings.HUB_URL if "AYNI_HUB_URL" in os.environ else None
    # On PostgreSQL hubs may run on any machine.
    found = whereabouts(settings.STATE) if settings.IS_SQLITE else None
    running = found is not None if settings.IS_SQLITE else None
    return {"hub": told, "listening": None, **(found or {}), "running": running}


def _rows() -> list[dict[str, Any]]:
    from ayni.hub.network.sites import overview

    rows = []
    for site in overview():
        parts = site["partitions"]
        seen = site["last_seen"]
        rows.append(
            {
                "name": site["name"],
                "member": site["member"],
                "state": site["state"],
                "cores": sum(p["cores"] for p in parts),
                "used_cores": sum(p["used_cores"] for p in parts),
                "running": sum(p["running"] for p in parts),
                "waiting": sum(p["waiting"] for p in parts),
                "heard": f"{time.time() - seen:.0f} s ago" if seen else "never",
            }
        )
    return rows


def _site(name: str) -> Any:
    from ayni.hub.network.models import Site

    return find(Site, "site", "see 'ayni hub site ls'", name=name)


def _set_draining(name: str, draining: bool) -> None:
    django()
    site = _site(name)
    site.draining = draining
    site.save(update_fields=["draining"])


def _institution(name: str | None, member: str | None) -> Any:
    from ayni.hub.accounts.models import Institution

    if name is not None:
        how = "add it with 'ayni hub institution add'"
        return find(Institution, "institution", how, name=name)
    if member is None:
        raise UserError("whose site is it? give --institution, or --member if that has only one")
    found = list(Institution.objects.filter(member=member)[:2])
    if len(found) != 1:
        raise UserError(f"member {member} has not exactly one institution; give --institution")
    return found[0]


def _show_code(site: Any, json_: bool) -> None:
    from ayni.hub.accounts.tokens import CODE_HOURS, issue_site_code

    secret = issue_site_code(site)
    emit(
        {"site": site.name, "code": secret, "expires": site.code_expires},
        json_,
        f"{secret}\nWithin {CODE_HOURS} h, at the site: ayni site register --hub URL --code CODE",
    )
