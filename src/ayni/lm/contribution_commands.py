"""`ayni lm contributions`: what each site brought to a run, from the coordinator's books."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict
from statistics import fmean
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ayni.client.commands.console import Column, Json, emit, examples, out, table
from ayni.lm.run_commands import Configuration, Folder, read_run

if TYPE_CHECKING:
    from ayni.lm.outer.watch import Part

_SUMS = ("tokens", "bytes", "core_seconds", "gpu_seconds", "weight")
_NUMBERS = (
    Column("TOKENS", right=True),
    Column("CORE-H", drop=1, right=True),
    Column("GPU-H", drop=1, right=True),
    Column("BYTES", drop=2, right=True),
    Column("WEIGHT", right=True),
    Column("EFFECT", right=True),
)
_FIRST = {
    "site": (Column("SITE"), Column("MEMBER", drop=3), Column("ROUNDS", right=True)),
    "member": (Column("MEMBER"), Column("ROUNDS", right=True)),
    "round": (Column("VERSION", right=True), Column("SITE"), Column("MEMBER", drop=3)),
}


def register(lm: typer.Typer) -> None:
    """Add the command to `ayni lm`."""
    lm.command(
        epilog=examples(
            "ayni lm contributions run.toml",
            "ayni lm contributions run.toml --by round",
            note="EFFECT: how much lower the other sites' loss is with it, in nats a token.",
        )
    )(contributions)


def contributions(
    configuration: Configuration,
    folder: Folder = None,
    by: Annotated[
        Literal["site", "member", "round"], typer.Option(help="What makes a row.")
    ] = "site",
    as_json: Json = False,
) -> None:
    """What each site brought: tokens, hours, bytes, weight, and its effect where that was measured."""
    from ayni.lm.outer.journal import Kept
    from ayni.lm.outer.watch import parts

    run, place = read_run(configuration, folder)
    with closing(Kept(place)) as journal:
        found = parts(record for _, record in journal.books())
    stand = [part for part in found if part.stands]
    sums = {
        "site": _summed(stand, lambda part: part.site),
        "member": _summed(stand, lambda part: part.member or ""),
        "round": [asdict(part) for part in (found if as_json else stand)],
    }
    if as_json:
        emit({"run": run.run, **{f"{name}s": rows for name, rows in sums.items()}})
        return
    columns = (*_FIRST[by], *_NUMBERS)
    out().print(table(columns, [_row(by, one) for one in sums[by]], out()))


def _summed(found: Sequence[Part], of: Callable[[Part], str]) -> list[dict[str, Any]]:
    """The sums of what stands, by what `of` says; `effect` is the mean over the rounds that have one."""
    groups: dict[str, list[Part]] = {}
    for part in found:
        groups.setdefault(of(part), []).append(part)
    fragments = len({part.fragment for part in found})
    return [_sum(groups[name], fragments) for name in sorted(groups)]


def _sum(group: list[Part], fragments: int) -> dict[str, Any]:
    """A round's weights are of 1 in each of the model's fragments, and of 1 in their mean."""
    effects = [part.effect for part in group if part.effect is not None]
    sums = {name: sum(getattr(part, name) for part in group) for name in _SUMS}
    return {
        "site": ", ".join(sorted({part.site for part in group})),
        "member": group[0].member,
        "rounds": len({part.version for part in group}),
        **sums,
        "weight": sums["weight"] / fragments,
        "effect": fmean(effects) if effects else None,
    }


def _row(by: str, one: dict[str, Any]) -> tuple[str, ...]:
    member = one["member"] or ""
    first = {
        "site": (one["site"], member, str(one.get("rounds"))),
        "member": (member or "—", str(one.get("rounds"))),
        "round": (str(one.get("version")), one["site"], member),
    }
    effect = one["effect"]
    return (
        *first[by],
        str(one["tokens"]),
        f"{one['core_seconds'] / 3600:.2f}",
        f"{one['gpu_seconds'] / 3600:.2f}",
        str(one["bytes"]),
        f"{one['weight']:.3f}",
        "" if effect is None else f"{effect:+.4f}",
    )
