"""`ayni hub init|apply|run|backup|restored`: the hub as a program on a machine."""

from __future__ import annotations

import json
import os
import sqlite3
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from ayni.errors import UserError
from ayni.hub.commands.frame import Json, django, emit, use_state

State = Annotated[Path | None, typer.Option(help="The hub's folder (AYNI_HUB_STATE).")]


def register(app: typer.Typer) -> None:
    app.command(epilog="Example:\n\n  ayni hub init --state /srv/ayni")(init)
    app.command(epilog="Example:\n\n  ayni hub apply alliance.yaml --json")(apply)
    app.command(
        epilog="Examples:\n\n  ayni hub run\n\n  ayni hub run --port 8000 --files-port 8001"
    )(run)
    app.command(epilog="Example:\n\n  ayni hub backup /backup/hub-$(date +%F).sqlite3")(backup)
    app.command(epilog="Example:\n\n  ayni hub restored")(restored)


def init(state: State = None, json_: Json = False) -> None:
    """Make the hub's folder, database and secrets, or bring them up to date. May be repeated."""
    use_state(state)
    django(ready=False)
    from django.conf import settings
    from django.core.management import call_command
    from django.db import DatabaseError

    from ayni.hub.network.hub import this_hub

    try:
        settings.STATE.mkdir(parents=True, exist_ok=True, mode=0o700)
        call_command("migrate", verbosity=0, interactive=False)
    except OSError as error:
        raise UserError(f"{settings.STATE}: {error.strerror}; choose another --state") from error
    except DatabaseError as error:
        raise UserError(f"the database cannot be used: {error}; see AYNI_DATABASE_URL") from error
    epoch = this_hub().epoch
    data = {"state": str(settings.STATE), "hub": settings.HUB_URL, "epoch": epoch}
    emit(data, json_, f"the hub in {settings.STATE} is ready; start it with 'ayni hub run'")


def apply(
    document: Annotated[Path, typer.Argument(help="JSON or YAML; '-' reads stdin.")],
    json_: Json = False,
) -> None:
    """Bring members, institutions, people, projects, tokens and sites in line with a document.

    Nothing is removed. The secrets of tokens and registration codes are shown now and never again.
    """
    django()
    from ayni.hub.apply import apply as apply_document

    made = apply_document(_read(document))
    lines = [f"token {label}: {secret}" for label, secret in made["tokens"].items()]
    lines += [f"code of site {name}: {code}" for name, code in made["codes"].items()]
    emit(made, json_, "\n".join(lines) or "done")


def _read(document: Path) -> Any:
    import yaml

    try:
        text = sys.stdin.read() if str(document) == "-" else document.read_text()
        return json.loads(text) if document.suffix == ".json" else yaml.safe_load(text)
    except OSError as error:
        raise UserError(f"{document} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{document} is no text in UTF-8: {error}") from error
    except (ValueError, yaml.YAMLError) as error:
        raise UserError(f"{document} is neither JSON nor YAML: {error}") from error


def run(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the hub.")] = 8080,
    files_port: Annotated[
        int, typer.Option(min=1, max=65535, help="Port of the file server of a folder store.")
    ] = 8081,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Serving processes; only with PostgreSQL.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=4, help="Threads of each: one for each site and watcher.")
    ] = None,
    state: State = None,
) -> None:
    """Run the hub until Ctrl-C or SIGTERM."""
    use_state(state)
    os.environ.setdefault("AYNI_LOG_LEVEL", "INFO")
    os.environ.setdefault("AYNI_HUB_URL", f"http://{_shown(host)}:{port}")
    os.environ.setdefault("AYNI_FILES_URL", f"http://{_shown(host)}:{files_port}")
    django()
    from ayni.hub.serve import Options
    from ayni.hub.serve import run as serve

    serve(Options(host, port, files_port, workers, threads))


def _shown(host: str) -> str:
    if host in ("0.0.0.0", "::"):  # noqa: S104 (compared, not bound)
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host


def backup(
    target: Annotated[Path, typer.Argument(help="The file to write; it must not exist.")],
    json_: Json = False,
) -> None:
    """Copy the database while the hub runs (SQLite). The store's folder is copied with any tool."""
    django()
    from django.conf import settings

    if not settings.IS_SQLITE:
        raise UserError("the database is PostgreSQL; back it up with pg_dump or pg_basebackup")
    try:
        handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise UserError(f"{target} exists; name a new file") from error
    except OSError as error:
        raise UserError(f"{target} cannot be written: {error.strerror}") from error
    os.close(handle)
    source = sqlite3.connect(f"file:{settings.DATABASES['default']['NAME']}?mode=ro", uri=True)
    copy = sqlite3.connect(target)
    try:
        source.backup(copy)
    finally:
        copy.close()
        source.close()
    data = {"backup": str(target), "size": target.stat().st_size, "secret_key": "secret-key"}
    keep = f"keep {settings.STATE / 'secret-key'} and the store beside it"
    emit(data, json_, f"{target}: {data['size']} bytes; {keep}")


def restored(json_: Json = False) -> None:
    """Say that the database was restored from a backup, before the hub is started again.

    The hub takes a new epoch: agents then tell it again what it lost.
    """
    django()
    from django.conf import settings

    from ayni.hub.channels.keep import skip_numbers
    from ayni.hub.network.hub import new_epoch
    from ayni.hub.serve import hold

    lock = hold(settings.STATE) if settings.IS_SQLITE else None
    try:
        epoch = new_epoch().epoch
        skip_numbers()
    finally:
        if lock is not None:
            lock.close()
    emit(
        {"epoch": epoch}, json_, "a new epoch; start the hub, and its agents will tell it the rest"
    )
