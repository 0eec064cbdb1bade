"""`ayni site …`: what the operator of a site does."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

from ayni.agent import (
    charters_commands,
    closures_commands,
    datasets_commands,
    key_commands,
    volumes_commands,
)
from ayni.agent.config import find, load
from ayni.agent.options import Config, Json


def register(app: typer.Typer) -> None:
    """Add the commands to `ayni`."""
    site = typer.Typer(
        no_args_is_help=True, help="Offer a machine to the network: for the operator of a site."
    )
    site.command("register")(register_site)
    site.command("run")(run)
    site.command("status")(status)
    site.command("doctor")(doctor)
    site.command("reconcile")(reconcile)
    site.command("unit")(unit)
    closures_commands.register(site)
    charters_commands.register(site)
    key_commands.register(site)
    policy = typer.Typer(no_args_is_help=True, help="What this site takes.")
    policy.command("check")(check)
    site.add_typer(policy, name="policy")
    dataset = typer.Typer(no_args_is_help=True, help="The site's own store: data that stays here.")
    datasets_commands.register(dataset)
    site.add_typer(dataset, name="dataset")
    volume = typer.Typer(no_args_is_help=True, help="What projects keep here between their tasks.")
    volumes_commands.register(volume)
    site.add_typer(volume, name="volume")
    app.add_typer(site, name="site")


def register_site(
    hub: Annotated[str, typer.Option(help="The hub's address.")],
    code: Annotated[str, typer.Option(help="The one-time code that the hub's operator gave you.")],
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Trade a one-time code for the site's key. Writes a starter configuration if there is none.

    Example: ayni site register --hub https://hub.ayni.example --code XXXX-XXXX
    """
    from ayni.agent.register import register

    loaded, path, name = register(hub, code, config)
    if as_json:
        typer.echo(json.dumps({"site": name, "config": str(path), "key": str(loaded.key_path)}))
        return
    typer.echo(f"registered as {name}; key in {loaded.key_path}, configuration in {path}")
    typer.echo("next: look over the configuration, then 'ayni site doctor' and 'ayni site run'")


def run(config: Config = None) -> None:
    """Run the agent. It goes on from where it was stopped or killed; running tasks go on without it.

    Exit codes: 0 stopped by a signal, 2 a mistake in the configuration, 3 another agent speaks for
    this site. Example: ayni site run --config /etc/ayni/agent.toml
    """
    from ayni.agent import run as agent

    code = agent.run(load(config))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # threads may be in the middle of a transfer: all of it may be repeated


def status(
    config: Config = None,
    ended: Annotated[int, typer.Option(min=0, help="Show so many of the last ended.")] = 0,
    as_json: Json = False,
) -> None:
    """Show what runs here for the network, and for whom: name, e-mail, institution, project, member.

    Example: ayni site status --ended 10
    """
    from rich.console import Console

    from ayni.agent import status as look

    found = look.gather(load(config), ended)
    if as_json:
        typer.echo(json.dumps(found, indent=2))
    else:
        look.show(found, Console())


def doctor(config: Config = None, as_json: Json = False) -> None:
    """Check everything that can be wrong with a site, and say the remedy. Exit code 1 if something fails.

    Example: ayni site doctor --json
    """
    from ayni.agent.doctor import Level, examine

    colours = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "red"}
    found = []
    for check in examine(config):
        found.append(check)
        if as_json:
            continue
        typer.secho(f"{check.level:<5}", fg=colours[check.level], bold=True, nl=False)
        typer.echo(f" {check.name}: {check.message}")
        if check.level is not Level.OK and check.remedy:
            typer.echo(f"      → {check.remedy}")
    failed = any(check.level is Level.FAIL for check in found)
    if as_json:
        checks = [
            {"name": c.name, "level": c.level, "message": c.message, "remedy": c.remedy}
            for c in found
        ]
        typer.echo(json.dumps({"ok": not failed, "checks": checks}, indent=2))
    if failed:
        raise typer.Exit(1)


def check(
    task: Annotated[Path, typer.Argument(help="A TES task, JSON or YAML.")],
    who: Annotated[
        str | None,
        typer.Option("--as", help="Who asks: MEMBER/PROJECT/EMAIL.", show_default=False),
    ] = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Say, rule by rule, whether this site would take a task. Nothing is sent. Exit code 1 for no.

    Example: ayni site policy check task.json --as MX/maize/ana@example.mx
    """
    from ayni.agent import policy

    loaded = load(config)
    asked = policy.read_task(task)
    person = policy.read_who(who or policy.ANYBODY)
    lines = policy.check(loaded, asked, policy.shape_for(asked), person)
    if who is None:  # nobody in particular: rules about persons say nothing
        lines = [line for line in lines if line.rule not in ("member", "project", "person")]
    taken = all(line.ok for line in lines)
    if as_json:
        typer.echo(policy.as_json(lines))
    else:
        for line in lines:
            typer.secho("yes " if line.ok else "no  ", fg="green" if line.ok else "red", nl=False)
            typer.echo(f"{line.rule}: {line.message}")
        typer.echo("this site would take it" if taken else "this site would not take it")
        if who is None:
            typer.echo("(members, projects and persons were not judged: give --as)")
    if not taken:
        raise typer.Exit(1)


def reconcile(
    begin: Annotated[
        str, typer.Option("--from", help="Of jobs that ended at or after this day or time …")
    ],
    end: Annotated[str, typer.Option("--to", help="… and before this one.")],
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Compare the hub's books with the scheduler's accounting, job by job. Exit code 1 if they differ.

    Example: ayni site reconcile --from 2026-11-01 --to 2026-12-01
    """
    from dataclasses import asdict

    from ayni.agent import reconcile as books
    from ayni.agent.units import read_time

    first, last = read_time(begin, "--from"), read_time(end, "--to")
    found = books.reconcile(load(config), first, last)
    if as_json:
        typer.echo(json.dumps({**asdict(found), "difference": found.difference}, indent=2))
    else:
        for line in books.words(found):
            typer.echo(line)
    if found.differences:
        raise typer.Exit(1)


def unit(
    config: Config = None,
    user: Annotated[str, typer.Option(help="Whose processes the tasks are.")] = "ayni",
) -> None:
    """Print a systemd unit for the agent.

    Example: ayni site unit > /etc/systemd/system/ayni-site.service
    """
    from ayni.agent.unit import unit as text

    command = shutil.which("ayni") or str(Path(sys.argv[0]).absolute())
    place = find(config).absolute() if config else Path("/etc/ayni/agent.toml")
    sudo = config is not None and bool(load(place).local_users)
    typer.echo(text(command, str(place), user, sudo=sudo), nl=False)
