"""`ayni site charters`, `ayni site charter accept|refuse`: the operator on what projects promise."""

from __future__ import annotations

import json
import sys
import time
from datetime import UTC, datetime
from typing import Annotated, Literal

import typer

from ayni.agent.charters import Answer, Asked, Charters, Key, find, operator
from ayni.agent.config import load
from ayni.agent.options import Config, Json
from ayni.errors import UserError
from ayni.protocol.charters import MAX_WHY
from ayni.terminal import one_line

Digest = Annotated[
    str, typer.Argument(metavar="DIGEST", help="Of the text: its first 8 digits or more.")
]
Project = Annotated[
    str | None, typer.Option(help="Whose, where several projects want the same text.")
]


def register(site: typer.Typer) -> None:
    """Add the commands to `ayni site`."""
    site.command("charters")(charters)
    charter = typer.Typer(
        no_args_is_help=True, help="Accept or refuse a charter: what a project promises."
    )
    charter.command("accept")(accept)
    charter.command("refuse")(refuse)
    site.add_typer(charter, name="charter")


def charters(
    every: Annotated[
        bool, typer.Option("--all", help="Also those that were answered, with their texts.")
    ] = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Show the charters that wait for your answer: whose, for which channels, since when, and the text.

    The hub tells of them as soon as a task waits that might run here. A task that uses a channel with a
    charter begins only once exactly that text is accepted. Example: ayni site charters
    """
    here = Charters(load(config).state)
    found: dict[Key, list[Asked]] = {}
    for asked in here.asked():
        found.setdefault((asked.project, asked.digest), []).append(asked)
    if as_json:
        shown = [_shown(here, asked) for asked in found.values()]
        typer.echo(json.dumps({"charters": shown}, indent=2, ensure_ascii=False))
        return
    waiting = here.waiting()
    for key in found if every else waiting:
        _print(here, found[key])
    if not waiting:
        typer.echo("no charter waits for an answer")
    if not every and (rest := len(found) - len(waiting)):
        typer.echo(f"{rest} answered: ayni site charters --all")


def accept(
    digest: Digest,
    project: Project = None,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Neither show the text nor ask.")
    ] = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Show a charter and accept it: tasks that waited for that go on. Who accepted, and when, is on record.

    Without a terminal nobody is asked: the digest says which text is meant. Example: ayni site charter
    accept 3f9a1c20
    """
    here = Charters(load(config).state)
    key = find(here, digest, project)
    if here.text(key[1]) is None:
        raise UserError(
            f"the text of {key[1][:12]} is not here any more; it is brought with the next task"
        )
    if not (yes or as_json):
        _print(here, [asked for asked in here.asked() if (asked.project, asked.digest) == key])
        if sys.stdin.isatty():
            typer.confirm("Accept it for this site?", abort=True)
    _answer(here, key, "accepted", "", as_json)


def refuse(
    digest: Digest,
    why: Annotated[str, typer.Option(help="Told to the project.")] = "",
    project: Project = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Refuse a charter, or take its acceptance back: from then on nothing more leaves by its channels.

    Example: ayni site charter refuse 3f9a1c20 --why "the licence does not allow it"
    """
    if len(why) > MAX_WHY:
        raise UserError(f"--why has {len(why)} characters; write {MAX_WHY} or fewer")
    here = Charters(load(config).state)
    _answer(here, find(here, digest, project), "refused", one_line(why), as_json)


def _answer(
    here: Charters, key: Key, word: Literal["accepted", "refused"], why: str, as_json: bool
) -> None:
    whose, digest = key
    answer = Answer(
        project=whose, digest=digest, answer=word, by=operator(), at=time.time(), why=why
    )
    here.say(answer)
    if as_json:
        typer.echo(answer.model_dump_json())
        return
    typer.echo(f"charter {digest[:12]} of project {whose}: {word} by {answer.by}")


def _print(here: Charters, asked: list[Asked]) -> None:
    first = asked[0]
    answer = here.answer_of(first.project, first.digest)
    names = ", ".join(one.channel for one in asked)
    typer.secho(f"charter {first.digest[:12]} of project {one_line(first.project)}", bold=True)
    typer.echo(f"  channels  {names}")
    typer.echo(f"  asked     since {_moment(first.at)}, for {one_line(first.person)}")
    if answer is None:
        typer.echo(f"  answer    none yet: ayni site charter accept {first.digest[:12]}")
    else:
        why = f": {answer.why}" if answer.why else ""
        typer.echo(f"  answer    {answer.answer} by {answer.by}, {_moment(answer.at)}{why}")
    text = here.text(first.digest) or "(the text is not here any more)"
    typer.echo("\n" + "\n".join(f"    {line}" for line in text.splitlines()) + "\n")


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _shown(here: Charters, asked: list[Asked]) -> dict[str, object]:
    first = asked[0]
    answer = here.answer_of(first.project, first.digest)
    return {
        "project": first.project,
        "digest": first.digest,
        "channels": [one.channel for one in asked],
        "person": first.person,
        "asked": first.at,
        "answer": None if answer is None else answer.model_dump(exclude={"project", "digest"}),
        "text": here.text(first.digest),
    }
