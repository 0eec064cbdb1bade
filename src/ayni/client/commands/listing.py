"""`ayni ps` and `ayni show`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ayni.client.build import show_command
from ayni.client.commands import console
from ayni.client.commands.console import Column, Json
from ayni.client.errors import InvalidTask
from ayni.client.handles import ArrayHandle, TaskHandle
from ayni.client.models import ArrayInfo, Attempt, TaskInfo
from ayni.client.network import Network
from ayni.tes.models import State, document
from ayni.tes.units import show_duration, show_size

REFRESH = 2.0  # seconds between two looks of --watch
MANY = 20  # lines of a part of `show`
BAD = (State.EXECUTOR_ERROR, State.SYSTEM_ERROR, State.CANCELED)
#: What listings do not tell.
DETAIL = {"attempts", "shape", "link", "links", "tags", "after", "parameters", "outputs"}


def register(app: typer.Typer) -> None:
    app.command(
        epilog=console.examples(
            "ayni ps",
            "ayni ps --state EXECUTOR_ERROR --name fit",
            "ayni ps --arrays",
            "ayni ps --watch",
        )
    )(ps)
    app.command(
        epilog=console.examples("ayni show ID", "ayni show ID --json | jq '.attempts[].site'")
    )(show)


def ps(
    state: Annotated[
        str | None, typer.Option("--state", "-s", help="Only those in this state, as RUNNING.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Only those whose name begins so.")] = None,
    array: Annotated[str | None, typer.Option(metavar="ID", help="Only those of this array.")] = None,
    tag: Annotated[str | None, typer.Option(metavar="KEY[=VALUE]", help="Only those with this tag.")] = None,
    arrays: Annotated[
        bool, typer.Option("--arrays", help="Arrays, not tasks.", show_default=False)
    ] = False,
    limit: Annotated[int, typer.Option("--limit", "-n", help="At most so many.", min=1)] = 30,
    watch: Annotated[
        bool, typer.Option("--watch", help="Keep it up to date, until Ctrl-C.", show_default=False)
    ] = False,
    json_: Json = False,
) -> None:  # fmt: skip
    """The project's tasks, the newest first."""
    if watch and json_:
        raise InvalidTask("--watch is for people; leave --json away, or ask again and again")
    if arrays and (state or name or array or tag):
        raise InvalidTask("--arrays goes with none of --state, --name, --array and --tag")
    out = console.out()

    with console.open_network() as hub:

        def look() -> RenderableType:
            return _arrays_table(hub, limit, out) if arrays else _tasks_table(tasks(), out)

        def tasks() -> list[TaskInfo]:
            found = hub.tasks(state=state, name=name, array=array, tag=_tag(tag), limit=limit)
            return [task.info for task in found]

        if json_ and arrays:
            console.emit({"arrays": [_array_row(a.info) for a in hub.arrays(limit=limit)]})
        elif json_:
            console.emit({"tasks": [t.model_dump(mode="json", exclude=DETAIL) for t in tasks()]})
        elif watch:
            _watch(look, out)
        else:
            found = look()
            out.print(found)
            if isinstance(found, Table) and found.row_count == limit:
                console.say(f"the newest {limit}; -n shows more")


def _watch(look: Any, out: Console) -> None:
    if not out.is_terminal:
        raise InvalidTask("--watch needs a terminal")
    with console.interruptible(lambda: ""), Live(look(), console=out, auto_refresh=False) as live:
        while True:
            time.sleep(REFRESH)
            live.update(look(), refresh=True)


def _tag(text: str | None) -> tuple[str, str] | None:
    if text is None:
        return None
    key, _, value = text.partition("=")
    return key, value


def _tasks_table(tasks: Sequence[TaskInfo], out: Console) -> RenderableType:
    if not tasks:
        return console.plain("no tasks")
    columns = (
        Column("ID"),
        Column("STATE"),
        Column("SITE", 1),
        Column("NAME", 2, fold=True),
        Column("ARRAY", 6),
        Column("TRIES", 7, right=True),
        Column("CREATED", 5),
        Column("RAN", 4, right=True),
        Column("REASON", 3, fold=True),
    )
    rows = [
        (
            info.id,
            console.state(info.state.value, out),
            info.site,
            info.name,
            f"{info.array}/{info.index}" if info.array else "",
            str(info.tries) if info.tries > 1 else "",
            console.when(info.created),
            _ran(info),
            info.reason.message if info.reason else "",
        )
        for info in tasks
    ]
    return console.table(columns, rows, out)


def _ran(info: TaskInfo) -> str:
    if info.seconds is None or not (info.final or info.state is State.RUNNING):
        return ""
    return show_duration(info.seconds)


def _arrays_table(hub: Network, limit: int, out: Console) -> RenderableType:
    rows = [
        (
            array.id,
            f"{array.info.done}/{array.info.size}",
            array.info.name,
            console.when(array.info.created),
            _counts(array.info, out),
        )
        for array in hub.arrays(limit=limit)
    ]
    if not rows:
        return console.plain("no arrays")
    columns = (
        Column("ID"),
        Column("ENDED", right=True),
        Column("NAME", 1, fold=True),
        Column("CREATED", 3),
        Column("STATES", 2, fold=True),
    )
    return console.table(columns, rows, out)


def _array_row(info: ArrayInfo) -> dict[str, Any]:
    return info.model_dump(mode="json", exclude={"version", "template", "after"})


def _counts(info: ArrayInfo, out: Console) -> Text:
    shown = [
        console.state(f"{s}", out).append(f" {n}") for s, n in sorted(info.counts.items()) if n
    ]
    return Text("  ").join(shown)


def show(
    id_: Annotated[str, typer.Argument(metavar="ID", help="A task's or array's id.")],
    json_: Json = False,
) -> None:
    """All about a task or an array."""
    with console.open_network() as hub:
        found = hub.find(id_)
        out = console.out()
        if isinstance(found, TaskHandle):
            task = found.document()
            if json_:
                told = found.info.model_dump(mode="json")
                console.emit({"kind": "task", **told, "task": document(task)})
                return
            commands = [show_command(e.command) for e in task.executors]
            out.print(_task_page(found.info, commands, out))
        else:
            failed = _failed(found)
            if json_:
                rows = [t.model_dump(mode="json", exclude=DETAIL) for t in failed]
                console.emit(
                    {"kind": "array", **found.info.model_dump(mode="json"), "failed": rows}
                )
                return
            out.print(_array_page(found.info, failed, out))


def _task_page(info: TaskInfo, commands: Sequence[str], out: Console) -> RenderableType:
    parts: list[RenderableType] = [
        console.pairs(
            [
                ("task", info.id),
                ("name", info.name),
                ("state", console.state(info.state.value, out)),
                ("reason", info.reason.message if info.reason else ""),
                *(("command" if n == 0 else "then", c) for n, c in enumerate(commands)),
                ("asks for", _shape(info.shape or {})),
                ("site", f"{info.site or ''} {info.partition or ''}".strip()),
                ("chain", f"link {info.link} of {info.links}" if info.links > 1 else ""),
                ("array", f"{info.array}, index {info.index}" if info.array else ""),
                ("parameters", _joined(info.parameters)),
                ("tags", _joined(info.tags)),
                ("after", ", ".join(str(one.get("id", one)) for one in info.after)),
                ("created", console.when(info.created)),
                ("ended", console.when(info.ended)),
            ],
            out,
        )
    ]
    if info.attempts:
        parts += [Text(), _attempts(info.attempts, out)]
    if info.outputs:
        parts += [Text(), _outputs(info, out)]
    return Group(*parts)


def _shape(shape: dict[str, Any]) -> str:
    if not shape:
        return ""
    words = [_count(shape.get("cores", 1), "core"), show_size(shape.get("memory", 0))]
    words.append(show_duration(shape.get("walltime", 0)))
    words += [_count(shape["gpus"], "GPU")] if shape.get("gpus") else []
    words += [_count(shape["nodes"], "node")] if shape.get("nodes", 1) > 1 else []
    words += ["network"] if shape.get("network") else []
    return ", ".join(words)


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


def _joined(values: dict[str, Any] | None) -> str:
    return ", ".join(f"{key}={value}" for key, value in (values or {}).items())


def _attempts(attempts: Sequence[Attempt], out: Console) -> RenderableType:
    columns = (
        Column("TRY", right=True),
        Column("SITE"),
        Column("STATE"),
        Column("STARTED", 3),
        Column("EXIT", 1, right=True),
        Column("CPU", 4, right=True),
        Column("MEMORY", 5, right=True),
        Column("REASON", 2, fold=True),
    )
    rows = [
        (
            str(one.number),
            one.site,
            one.state + (" (superseded)" if one.superseded else ""),
            console.when(one.started),
            " ".join(str(code) for code in one.exit_codes),
            _usage(one, "cpu"),
            _usage(one, "peak_memory"),
            one.reason.message if one.reason else "",
        )
        for one in attempts
    ]
    return console.table(columns, rows, out)


def _usage(attempt: Attempt, key: str) -> str:
    value = (attempt.usage or {}).get(key)
    if value is None:
        return ""
    return show_size(value) if key == "peak_memory" else f"{value:.1f} s"


def _outputs(info: TaskInfo, out: Console) -> RenderableType:
    columns = (
        Column("OUTPUT", fold=True),
        Column("SIZE", 2, right=True),
        Column("URL", 1, fold=True),
    )
    rows = [(o.path, show_size(o.size), o.url) for o in info.outputs[:MANY]]
    if (more := len(info.outputs) - MANY) > 0:
        rows.append((f"and {more} more; see --json", "", ""))
    return console.table(columns, rows, out)


def _failed(array: ArrayHandle) -> list[TaskInfo]:
    """The first of its tasks that ended badly."""
    found: list[TaskInfo] = []
    for state in BAD:
        if array.info.counts.get(state) and len(found) < MANY:
            tasks = array.tasks(state=state)
            found += [t.info for t, _ in zip(tasks, range(MANY - len(found)), strict=False)]
    return found


def _commands(info: ArrayInfo) -> list[str]:
    executors = (info.template or {}).get("executors", ())
    return [show_command([str(word) for word in e["command"]]) for e in executors]


def _array_page(info: ArrayInfo, failed: Sequence[TaskInfo], out: Console) -> RenderableType:
    parts: list[RenderableType] = [
        console.pairs(
            [
                ("array", info.id),
                ("name", info.name),
                ("ended", f"{info.done} of {info.size}"),
                ("states", _counts(info, out)),
                *(("command" if n == 0 else "then", c) for n, c in enumerate(_commands(info))),
                ("re-run of", info.rerun_of),
                ("created", console.when(info.created)),
            ],
            out,
        )
    ]
    if failed:
        parts += [Text(), _tasks_table(failed, out)]
    return Group(*parts)
