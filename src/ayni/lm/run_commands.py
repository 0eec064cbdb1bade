"""`ayni lm train`, and what steers a run: coordinate, pause, resume, set, rollback, readmit, key."""

from __future__ import annotations

import hashlib
import json
import logging
import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ayni.client.commands.console import (
    Json,
    emit,
    examples,
    open_network,
    say,
)
from ayni.errors import UserError

if TYPE_CHECKING:
    from ayni.lm.config import Run
    from ayni.lm.coordinate import Coordination
    from ayni.lm.outer.messages import Wish

_PAUSE = 1.0  # seconds between two looks
_AGAIN = 10.0  # seconds after which a hub that was not reached is tried again

Configuration = Annotated[Path, typer.Argument(help="run.toml: what the run is.", metavar="RUN")]
Folder = Annotated[
    Path | None,
    typer.Option(
        help="Where the coordinator's memory is; by default beside RUN, by the run's name."
    ),
]


def register(lm: typer.Typer) -> None:
    """Add the commands to `ayni lm`."""
    again = "Killed, it goes on where it was when it is given again."
    lm.command(
        epilog=examples("ayni lm train run.toml --dry-run", "ayni lm train run.toml", note=again)
    )(train)
    lm.command(epilog=examples("ayni lm coordinate run.toml", note=again))(coordinate)
    lm.command(epilog=examples("ayni lm pause run.toml"))(pause)
    lm.command(epilog=examples("ayni lm resume run.toml"))(resume)
    lm.command("set", epilog=examples("ayni lm set run.toml lr 0.0002 --from 40"))(set_value)
    lm.command(epilog=examples("ayni lm rollback run.toml --to 12"))(rollback)
    lm.command(epilog=examples("ayni lm readmit run.toml bogota"))(readmit)
    lm.command(epilog=examples("ayni lm key"))(key)


def train(
    configuration: Configuration,
    folder: Folder = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check; print the plan and what would be sent.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Train a model over the network: make its channels, send each site its task, coordinate."""
    from ayni.lm import config, launch
    from ayni.lm.model_commands import need_torch

    need_torch()
    run, place = read_run(configuration, folder)
    if dry_run:
        _dry_run(run, as_json)
        return
    config.check_here(run)
    config.keep(run, place)
    made = launch.drafts(run, place)
    network = open_network()
    launch.check_project(network, run)
    with closing(_coordination(run, place)) as coordination:
        if not coordination.done:
            for site, task in launch.submit(network, made, place).items():
                say(f"{site}: task {task}")
            if run.charter_text:
                digest = hashlib.sha256(run.charter_text.encode()).hexdigest()
                say(
                    f"each waits for its site's operator: ayni site charter accept {digest[:12]}; "
                    f"'ayni channels show {run.up}' says who has answered"
                )
        _watch(coordination, as_json)


def _dry_run(run: Run, as_json: bool) -> None:
    """The plan and the tasks; nothing is kept, so that `run.toml` can still be changed."""
    from ayni.lm import config, launch
    from ayni.lm.plan_commands import show
    from ayni.lm.planning import make

    planned = make(run)
    with TemporaryDirectory(prefix="ayni-dry-") as folder:
        config.keep(run, Path(folder))
        made = launch.drafts(run, Path(folder))
        results = f"ayni://{run.project or 'PROJECT'}/results"
        tasks = {s: one.task(results).model_dump(exclude_none=True) for s, one in made.items()}
    if as_json:
        emit({"run": run, "tasks": tasks, "plan": planned.to_json()})
        return
    show(planned)
    say("nothing was sent; --json prints the tasks and the run as it was understood, too")


def coordinate(configuration: Configuration, folder: Folder = None, as_json: Json = False) -> None:
    """Coordinate a run whose sites have their tasks; one process, until the run is over."""
    run, place = read_run(configuration, folder)
    with closing(_coordination(run, place)) as coordination:
        _watch(coordination, as_json)


def pause(configuration: Configuration, as_json: Json = False) -> None:
    """Begin no new version until `resume`; the rounds in hand are finished."""
    from ayni.lm.outer.messages import Pause

    _wish(configuration, Pause(), as_json)


def resume(configuration: Configuration, as_json: Json = False) -> None:
    """Go on after a pause."""
    from ayni.lm.outer.messages import Resume

    _wish(configuration, Resume(), as_json)


def set_value(
    configuration: Configuration,
    name: Annotated[
        Literal["lr", "outer_lr", "outer_momentum"],
        typer.Argument(help="lr: the inner peak rate; the others are the outer step's."),
    ],
    value: Annotated[float, typer.Argument(min=0, max=1000, help="The new rate.")],
    from_version: Annotated[int, typer.Option("--from", min=0, help="The version it begins with.")],
    as_json: Json = False,
) -> None:
    """Set a rate from a version on."""
    from ayni.lm.outer.messages import Set

    _wish(configuration, Set(name=name, value=value, from_version=from_version), as_json)


def rollback(
    configuration: Configuration,
    to: Annotated[int, typer.Option("--to", min=0, help="The version whose weights come back.")],
    as_json: Json = False,
) -> None:
    """Go back to the weights of an earlier version."""
    from ayni.lm.outer.messages import RollBack

    _wish(configuration, RollBack(order=secrets.token_hex(8), to=to), as_json)


def readmit(
    configuration: Configuration,
    site: Annotated[str, typer.Argument(help="A site that was suspended.", metavar="SITE")],
    as_json: Json = False,
) -> None:
    """Let a site that was suspended take part again: what it brings is merged from now on."""
    from ayni.lm import config
    from ayni.lm.outer.messages import Readmit

    name = config.load(configuration).at(site).site
    _wish(configuration, Readmit(site=name, order=secrets.token_hex(8)), as_json)


def key(as_json: Json = False) -> None:
    """Print the public key by which you steer runs. Give it to who coordinates, not by the hub."""
    from ayni.lm import steering

    public = steering.own_key().public
    typer.echo(json.dumps({"key": public}) if as_json else public)


# --- what they share --------------------------------------------------------------------------


def read_run(configuration: Path, folder: Path | None) -> tuple[Run, Path]:
    """The run, and its coordinator's folder."""
    from ayni.lm import config

    run = config.load(configuration)
    return run, folder or configuration.parent / run.run


def _coordination(run: Run, folder: Path) -> Coordination:
    from ayni.lm import launch
    from ayni.lm.coordinate import Coordination
    from ayni.lm.tasks import Tasks

    network = open_network()
    launch.check_project(network, run)
    belong = launch.members(network, run)
    return Coordination(
        run,
        folder,
        lambda count: launch.connect(network, run, count, folder),
        belong,
        Tasks(network, run),
    )


def _wish(configuration: Path, wish: Wish, as_json: bool) -> None:
    from ayni.lm import config, launch, steering

    run = config.load(configuration)
    signer = steering.own_key()
    network = open_network()
    launch.check_project(network, run)
    channel = launch.wishes(network, run)
    number = channel.send(*steering.sign(signer, network.project, run, wish))
    answer = steering.answer_to(channel, number)
    if answer is not None and "refused" in answer:
        raise UserError(f"wish {number} of run {run.run} was refused: {answer['refused']}")
    if as_json:
        typer.echo(json.dumps({"run": run.run, "wish": number, "heard": answer is not None}))
        return
    later = "its coordinator does not answer now, and will hear it within a day, or not at all"
    say(f"wish {number} of run {run.run}: {'heard' if answer is not None else later}")


def _watch(coordination: Coordination, as_json: bool) -> None:
    """Coordinate to the end, and show how it goes."""
    from ayni.lm.watching.shown import showing

    with showing(as_json=as_json) as show:
        logging.basicConfig(level=logging.WARNING, format="%(message)s")
        show(coordination.write_status())
        _coordinate(coordination, show)


def _coordinate(coordination: Coordination, show: Callable[[Mapping[str, Any]], None]) -> None:
    """To the end. What passes (the network, a full disk or store) is told once and tried again.

    Sites hold their allocations meanwhile: no such trouble may end the run, nor may an answer that
    is no hub's, which a proxy gives for a moment.
    """
    from ayni.client.errors import HubFailed, HubUnreachable, NotAHub, TransferFailed
    from ayni.errors import NoRoom

    told: type[Exception] | None = None
    while not coordination.done:
        try:
            coordination.step()
            show(coordination.write_status())
            coordination.wait(_PAUSE)
            told = None
        except (HubUnreachable, HubFailed, NotAHub, TransferFailed, NoRoom) as error:
            if type(error) is not told:
                say(f"{error}; trying again until it goes")
                told = type(error)
            time.sleep(_AGAIN)
    show(coordination.write_status())
