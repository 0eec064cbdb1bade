"""`ayni lm plan`: what a run takes, before anything is spent; `ayni lm debug`: one site's training, here."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from ayni.client.commands.console import Column, Json, emit, examples, out, pairs, plain, say, table
from ayni.errors import UserError
from ayni.lm.run_commands import Configuration

if TYPE_CHECKING:
    from ayni.lm.planning import Planned

_COLUMNS = (
    Column("SITE"),
    Column("MACHINE", drop=1),
    Column("MEMORY", right=True),
    Column("TOKENS/S", drop=2, right=True),
    Column("EXCHANGE", drop=3, right=True),
    Column("TRAINS", right=True),
    Column("BUSY", drop=4, right=True),
    Column("GPU-HOURS", right=True),
    Column("CORE-HOURS", right=True),
)


def register(lm: typer.Typer) -> None:
    """Add the commands to `ayni lm`."""
    lm.command(
        epilog=examples(
            "ayni lm plan run.toml",
            "ayni lm plan run.toml --device santiago=H200 --link bogota=1G --link 100M",
            "ayni lm plan run.toml --tflops bogota=4.5 --mfu 0.4",
        )
    )(plan)
    lm.command(
        epilog=examples(
            "ayni lm debug run.toml --data shards/",
            "ayni lm debug run.toml --data shards/ --site bogota --steps 20",
        )
    )(debug)


def plan(
    configuration: Configuration,
    device: Annotated[
        list[str] | None,
        typer.Option(metavar="[SITE=]NAME", help="A site's GPU, or that of all: H200, A100 80GB."),
    ] = None,
    tflops: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[SITE=]NUMBER", help="The peak of a GPU, or of a task without one, in TFLOP/s."
        ),
    ] = None,
    memory: Annotated[
        list[str] | None,
        typer.Option(metavar="[SITE=]SIZE", help="The memory of a GPU: 80GB."),
    ] = None,
    link: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[SITE=]SPEED", help="Bits per second to the coordinator: 1G; by default 100M."
        ),
    ] = None,
    mfu: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[SITE=]SHARE", help="The share of the peak that is reached; by default 0.35."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """What a run takes: memory, hours, bytes, cost on the allocation. Nothing is sent.

    An estimate: all sites take part from beginning to end, rounds wait as outer.quorum and grace say,
    exchanges are overlapped as outer.overlap says, nobody stands in a queue.
    """
    from ayni.lm import config
    from ayni.lm.planning import Facts, make

    facts = Facts(
        device=_by_site(device, "device"),
        tflops=_by_site(tflops, "tflops"),
        memory=_by_site(memory, "memory"),
        link=_by_site(link, "link"),
        mfu=_by_site(mfu, "mfu"),
    )
    planned = make(config.load(configuration), facts)
    if as_json:
        emit(planned.to_json())
    else:
        show(planned)


def show(planned: Planned) -> None:
    """A plan for people: a table, and on stderr what stands in its way."""
    from rich.filesize import decimal

    console, found = out(), planned.plan
    rows = [
        (
            one.site,
            name,
            f"{one.memory.total / 1e9:.1f} of {machine.memory / 1e9:.0f} GB",
            f"{one.tokens / (one.hours * 3600):,.0f}",
            f"{one.exchange_seconds:,.1f} s",
            f"{one.hours:,.1f} h",
            f"{one.utilisation:.1%}",
            f"{one.gpu_hours:,.1f}",
            f"{one.core_hours:,.1f}",
        )
        for one, machine, name in zip(found.sites, planned.machines, planned.names, strict=True)
    ]
    gpu, core = (
        sum(getattr(one, kind) for one in found.sites) for kind in ("gpu_hours", "core_hours")
    )
    console.print(
        plain(
            f"{found.parameters:,} parameters, {found.tokens:,} tokens in {found.rounds:,} rounds: "
            f"{found.hours:,.1f} hours, {gpu:,.1f} GPU-hours, {core:,.1f} core-hours"
        )
    )
    console.print(
        plain(
            f"{decimal(found.round_bytes)} a site and round, {decimal(found.sent)} in all: "
            f"{found.saving:,.0f} times less than data-parallel in float32"
        )
    )
    console.print(plain(_exchange(planned)))
    console.print(
        plain(f"up to {decimal(planned.store)} at the project's store, which its quota must hold")
    )
    console.print(table(_COLUMNS, rows, console))
    for warning in planned.warnings:
        say(warning)


def _exchange(planned: Planned) -> str:
    """What an exchange takes, and the overlap that hides it."""
    one = planned.plan.exchange
    ours = one.streaming
    parts = ", ".join(f"{name} {seconds:,.1f} s" for name, seconds in one.parts.items() if seconds)
    what = f"one of {ours.fragments} fragments" if ours.fragments > 1 else "the whole model"
    return (
        f"an exchange of {what}: {parts}; in all {one.seconds:,.1f} s, {one.needed():,} inner steps of "
        f"{one.site} (outer.overlap = {ours.overlap:,}; a round has up to {one.length:,})"
    )


def _by_site(given: Iterable[str] | None, name: str) -> dict[str, str]:
    """`SITE=VALUE`, or a value for all.

    Raises:
        UserError: the same said twice.
    """
    found: dict[str, str] = {}
    for text in given or ():
        site, _, value = text.rpartition("=")
        if site in found:
            raise UserError(f"--{name} {text}: said twice; say it once for each site")
        found[site] = value
    return found


def debug(
    configuration: Configuration,
    site: Annotated[
        str | None, typer.Option(help="Which of the run's sites; by default the first.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="The folder of its shards here; by default what run.toml says."),
    ] = None,
    steps: Annotated[int, typer.Option(min=1, max=1_000_000, help="Inner steps.")] = 10,
    as_json: Json = False,
) -> None:
    """Train one site's first steps in this process: no network, no tasks, nothing is kept.

    Says losses as they fall, tokens/s, TFLOP/s, peak memory and the bytes of a contribution.
    """
    from ayni.lm import config
    from ayni.lm.model_commands import need_torch

    need_torch()
    run = config.load(configuration)
    one = run.at(site) if site else run.sites[0]
    place = data or Path(one.data)
    if not place.is_dir():
        raise UserError(
            f"{one.site}: {place} is no folder here; name that of its shards with --data"
        )
    from ayni.lm.debug import Step
    from ayni.lm.debug import debug as trained

    def told(step: Step) -> None:
        shown = ", ".join(f"{name} {loss:.3f}" for name, loss in step.losses.items())
        say(f"step {step.number} of {step.of}: loss {step.loss:.4f} ({shown})")

    with TemporaryDirectory(prefix="ayni-debug-") as state:
        found = trained(run, one.site, place, Path(state), steps, told)
    if as_json:
        emit(found)
        return
    rows = [
        ("device", found["device"]),
        ("tokens/s", f"{found['tokens_per_second']:,.0f}"),
        ("TFLOP/s", f"{found['tflops']:.4g}"),
        ("peak memory", f"{found['peak_memory'] / 1e9:.2f} GB"),
        ("a contribution", f"{found['contribution_bytes']:,} bytes"),
        ("loss", f"{found['loss']:.4f}"),
    ]
    for name, loss in found["heldout_after"].items():
        rows.append((f"held out, {name}", f"{found['heldout_before'][name]:.4f} → {loss:.4f}"))
    out().print(pairs(rows, out()))
