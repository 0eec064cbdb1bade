"""`ayni logs`, `ayni why`, `ayni wait`: what is happening, and until it is over."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from ayni import terminal
from ayni.client.commands import console
from ayni.client.commands.console import Json
from ayni.client.errors import AyniError, InvalidTask, WaitTimeout
from ayni.client.handles import ArrayHandle, Handle, TaskHandle
from ayni.client.models import SiteVerdict
from ayni.client.network import Network
from ayni.client.waiting import wait_all
from ayni.tes.shape import parse_duration
from ayni.tes.units import show_duration

PLACEMENTS = 5  # the last decisions on such tasks that `why` tells
TaskId = Annotated[str, typer.Argument(metavar="ID", help="A task's id.")]


def register(app: typer.Typer) -> None:
    app.command(
        epilog=console.examples("ayni logs ID", "ayni logs -f ID", "ayni logs --full ID > log.txt")
    )(logs)
    app.command(epilog=console.examples("ayni why ID"))(why)
    app.command(
        epilog=console.examples("ayni wait ID && ayni fetch ID", "ayni wait --timeout 2h ID1 ID2")
    )(wait)


def logs(
    id_: TaskId,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on as it grows, to its end.", show_default=False)
    ] = False,
    full: Annotated[
        bool, typer.Option("--full", help="All, not the last 64 KiB, once it has ended.", show_default=False)
    ] = False,
    stderr: Annotated[
        bool, typer.Option("--stderr", help="What it wrote to stderr.", show_default=False)
    ] = False,
    command: Annotated[int, typer.Option(help="Which of the task's commands, from 0.", min=0)] = 0,
    attempt: Annotated[int | None, typer.Option(help="Which attempt, default the last.", min=1)] = None,
    raw: Annotated[
        bool,
        typer.Option("--raw", help="Let colours and the like through to a terminal.", show_default=False),
    ] = False,
    json_: Json = False,
) -> None:  # fmt: skip
    """What a task printed. A terminal is shown control characters as ^X, unless --raw is given."""
    if follow and (full or json_ or attempt):
        raise InvalidTask("--follow goes with neither --full, --attempt nor --json")
    with console.open_network() as hub:
        task = _task(hub, id_)
        if follow:
            with console.interruptible(lambda: _goes_on([task])):
                _write((t.encode() for t in task.follow(stderr=stderr, command=command)), raw)
            _remark_withheld(task, stderr, command)
            return
        page = task.log(stderr=stderr, command=command, attempt=attempt)
        if json_:
            console.emit(page)
        elif page.withheld:
            console.say(f"the log stays at its site: {page.withheld.message}")
        elif full and page.offset:
            if page.full is None:
                raise AyniError(f"the whole log of {task.id} is there when the task has ended")
            with tempfile.TemporaryDirectory() as folder:
                hub.store.cat(page.full, Path(folder))
                _write(_chunks(Path(folder) / "content"), raw)
        else:
            _write([page.text.encode()], raw)
            if page.offset:
                console.say(f"[the first {page.offset} bytes are not shown; --full shows all]")


def _task(hub: Network, id_: str) -> TaskHandle:
    found = hub.find(id_)
    if isinstance(found, ArrayHandle):
        raise InvalidTask(
            f"{found.id} is an array; name a task of it: `ayni ps --array {found.id}`"
        )
    return found


def _remark_withheld(task: TaskHandle, stderr: bool, command: int) -> None:
    page = task.log(stderr=stderr, command=command)
    if page.withheld:
        console.say(f"the log stays at its site: {page.withheld.message}")


def _write(parts: Iterable[bytes], raw: bool) -> None:
    """To a program or a file as it is; to a terminal so that the task cannot play with it."""
    sys.stdout.flush()
    for part in parts if raw or not console.on_terminal() else terminal.log(parts):
        sys.stdout.buffer.write(part)
        sys.stdout.buffer.flush()


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            yield chunk


def why(id_: TaskId, json_: Json = False) -> None:
    """Where a task went or why it waits: a line for every site."""
    with console.open_network() as hub:
        found = _task(hub, id_).why()
    if json_:
        console.emit(found)
        return
    out = console.out()
    line = console.state(found.state.value, out)
    line.append(f"  {console.plain(found.summary)}")
    out.print(line, soft_wrap=True)
    for one in found.after:
        words = " ".join(f"{key} {value}" for key, value in one.items())
        out.print(console.plain(f"after {words}"), soft_wrap=True)
    show_verdicts(found.sites, out)
    for placement in found.placements[:PLACEMENTS]:
        where = placement.site or "nowhere yet"
        at = console.when(placement.at)
        out.print(console.plain(f"  {at} placed at {where} {placement.partition or ''}".rstrip()))


def show_verdicts(sites: Sequence[SiteVerdict], out: Console) -> None:
    """A line for every site."""
    width = max((len(one.site) for one in sites), default=0)
    for one in sites:
        line = console.verdict(one.verdict, one.site.ljust(width), out)
        line.append(f"  {console.plain(one.message or one.verdict)}", style="default")
        out.print(line, soft_wrap=True)


def wait(
    ids: Annotated[list[str], typer.Argument(metavar="ID…", help="Tasks and arrays.")],
    timeout: Annotated[
        str | None, typer.Option(help="Wait no longer than this, as 30m or 2h.")
    ] = None,
    json_: Json = False,
) -> None:
    """Wait until tasks and arrays have ended. Exit code 0 only if all ended well."""
    try:
        limit = None if timeout is None else float(parse_duration(timeout))
    except ValueError as error:
        raise InvalidTask(f"--timeout: {error}") from error
    with console.open_network() as hub:
        await_all([hub.find(id_) for id_ in ids], limit, json_)


def await_all(handles: Sequence[Handle], timeout: float | None, json_: bool) -> None:
    """Wait, tell how each ended, and leave with 1 unless all ended well."""
    late = ""
    with console.interruptible(lambda: _goes_on(handles)):
        try:
            wait_all(handles, timeout=timeout, progress=sys.stderr.isatty())
        except WaitTimeout as error:
            late = str(error)
    if json_:
        console.emit({"ok": all(h.ok for h in handles), "waited": [_told(h) for h in handles]})
    else:
        out = console.out()
        for handle in handles:
            out.print(_line(handle, out), soft_wrap=True)
    if late:
        console.say(late)
    if not all(handle.ok for handle in handles):
        raise typer.Exit(console.FAILED)


def _told(handle: Handle) -> dict[str, Any]:
    told: dict[str, Any] = {
        "kind": handle.kind,
        "id": handle.id,
        "final": handle.final,
        "ok": handle.ok,
    }
    if isinstance(handle, ArrayHandle):
        return {**told, "size": handle.info.size, "counts": handle.info.counts}
    assert isinstance(handle, TaskHandle)
    return {**told, "state": handle.info.state.value, "site": handle.info.site}


def _line(handle: Handle, out: Console) -> Any:
    if isinstance(handle, TaskHandle):
        info = handle.info
        line = console.state(info.state.value, out)
        ran = f", ran {show_duration(info.seconds)}" if info.final and info.seconds else ""
        at = f" at {info.site}" if info.site else ""
        reason = f": {info.reason.message}" if info.reason and info.reason.message else ""
        return line.append(f"  {handle.id}{at}{ran}{console.plain(reason)}", style="default")
    line = console.state(
        "COMPLETE" if handle.ok else "EXECUTOR_ERROR" if handle.final else "RUNNING", out
    )
    return line.append(f"  {handle.id}  {handle.summary()}", style="default")


def _goes_on(handles: Sequence[Handle]) -> str:
    ids = " ".join(handle.id for handle in handles)
    them = f"{handles[0].kind} {ids} goes" if len(handles) == 1 else f"{ids} go"
    return f"stopped watching; {them} on (`ayni wait {ids}`; `ayni cancel {ids}` ends)"
