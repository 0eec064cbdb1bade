"""`ayni site status`: what runs here, and for whom."""

from __future__ import annotations

import time
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ayni.agent import journal, now
from ayni.agent.charters import Charters
from ayni.agent.config import Config
from ayni.agent.journal import Entry
from ayni.protocol.messages import Report
from ayni.terminal import one_line
from ayni.tes.units import show_duration, show_size


def gather(config: Config, ended: int = 0) -> dict[str, Any]:
    """Everything, ready for JSON.

    Raises:
        UserError: the agent of this site has never run.
    """
    live, last, meta = journal.look(config.state, ended)
    words = now.read(config.state)
    return {
        "agent": {
            "running": bool(words and words.running),
            "pid": words.pid if words else None,
            "site": words.site if words else None,
            "hub": config.hub,
            "heard": words.heard if words else None,
            "trouble": words.trouble if words else "",
            "executor_fault": words.executor_fault if words else "",
            "sandbox": words.sandbox if words else None,
            "generation": int(meta.get("generation", 0)),
            "unreported": max(0, int(meta.get("seq", 0)) - int(meta.get("acknowledged", 0))),
        },
        "attempts": [_attempt(entry) for entry in sorted(live, key=_since)],
        "ended": [_ended(report) for report in last],
        "charters": len(Charters(config.state).waiting()),  # without an answer
    }


def _since(entry: Entry) -> float:
    return entry.report.started or entry.report.accepted or 0.0


def _attempt(entry: Entry) -> dict[str, Any]:
    shape, who = entry.assignment.shape, entry.assignment.who
    return {
        "attempt": entry.id,
        "task": entry.assignment.task_id,
        "name": entry.assignment.task.get("name") or "",
        "state": entry.state.value,
        "ordered": entry.doom.value if entry.doom else None,
        "partition": entry.assignment.partition,
        "host": entry.report.host,
        "since": _since(entry),
        "cores": shape["cores"],
        "memory": shape["memory"],
        "gpus": shape["gpus"],
        "walltime": shape["walltime"],
        **who.model_dump(exclude={"name"}),
        "person": who.name,
    }


def _ended(report: Report) -> dict[str, Any]:
    return {
        "attempt": report.attempt,
        "state": report.state.value,
        "ended": report.ended,
        "reason": report.reason.message if report.reason else "",
    }


def show(found: dict[str, Any], console: Console) -> None:
    """The same for a person."""
    agent = found["agent"]
    console.print(_plain(_headline(agent)))
    for fault in (agent["trouble"], agent["executor_fault"]):
        if fault:
            console.print(_plain(fault, "red"))
    if count := found["charters"]:
        wait = "1 charter waits" if count == 1 else f"{count} charters wait"
        console.print(_plain(f"{wait} for your answer: ayni site charters", "yellow"))
    if found["attempts"]:
        console.print(_table(found["attempts"]))
    else:
        console.print("nothing runs here for the network")
    for line in found["ended"]:
        ago = show_duration(time.time() - (line["ended"] or 0))
        words = f"{line['attempt']}  {line['state']}  {ago} ago  {line['reason']}"
        console.print(_plain(words))


def _plain(text: str, style: str = "") -> Text:
    """No markup and no control characters: most of this was written by whoever sends tasks."""
    return Text(one_line(text), style)


def _headline(agent: dict[str, Any]) -> str:
    if not agent["running"]:
        return "the agent does NOT run; start it with 'ayni site run'. What it left running goes on"
    heard = agent["heard"]
    when = f"heard {show_duration(time.time() - heard)} ago" if heard else "not heard yet"
    return (
        f"site {agent['site']}, agent {agent['pid']}, sandbox {agent['sandbox']}; "
        f"hub {agent['hub']} {when}; {agent['unreported']} changes still to be acknowledged"
    )


def _table(attempts: list[dict[str, Any]]) -> Table:
    table = Table("attempt", "state", "for", "project", "cores", "memory", "since", "name")
    for a in attempts:
        who = f"{a['person']} <{a['email']}>", f"{a['institution']} ({a['member']})"
        table.add_row(
            a["attempt"],
            a["state"] + (" (ending)" if a["ordered"] else ""),
            Text("\n").join(map(_plain, who)),
            a["project"],
            str(a["cores"]),
            show_size(a["memory"]),
            show_duration(time.time() - a["since"]),
            _plain(a["name"]),
        )
    return table
