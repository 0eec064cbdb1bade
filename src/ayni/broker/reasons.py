"""What is said of a site that could have a group's tasks: a code, numbers and plain words."""

from __future__ import annotations

from collections.abc import Sequence

from ayni.broker.foresight import Start
from ayni.broker.room import Room
from ayni.broker.types import Site, SiteReason, Verdict

_AT_ONCE = 5.0  # seconds: sooner is at once for a person


def span(seconds: float) -> str:
    """A length of time as people say it."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def size(count: int) -> str:
    """A number of bytes as people say it."""
    for power, unit in ((4, "TB"), (3, "GB"), (2, "MB"), (1, "kB")):
        if count >= 1000**power:
            return f"{count / 1000**power:.1f} {unit}"
    return f"{count} bytes"


def soon(seconds: float) -> str:
    """When something is expected, as people say it."""
    return "at once" if seconds < _AT_ONCE else f"in about {span(seconds)}"


def chosen(site: Site, count: int, start: Start, move: float) -> SiteReason:
    """It was given so many, of which the first starts then, after `move` seconds for its inputs."""
    start_in = start.seconds + move
    when = f"expected to start {soon(start_in)}"
    given = (
        f"was given 1 task, {when}" if count == 1 else f"was given {count} tasks, the first {when}"
    )
    parameters = {"count": count, "start_in": round(start_in), "by": start.by.value}
    return SiteReason(site.name, Verdict.CHOSEN, "chosen", given, parameters)


def asked(site: Site, count: int, channel: str) -> SiteReason:
    """It was given so many, for its operator to be asked: no site has accepted that charter yet."""
    tasks = "1 task, which waits" if count == 1 else f"{count} tasks, which wait"
    message = (
        f"was given {tasks} for its operator to accept the charter of channel {channel} "
        "('ayni site charter accept'); no site that could take it has"
    )
    parameters = {"count": count, "channel": channel}
    return SiteReason(site.name, Verdict.CHOSEN, "asked", message, parameters)


def unaccepted(site: Site, channel: str) -> SiteReason:
    """Others' operators have accepted the charter, and its own has not."""
    message = f"its operator has not accepted the charter of channel {channel}; another site's has"
    return SiteReason(site.name, Verdict.INELIGIBLE, "unaccepted", message, {"channel": channel})


def possible(site: Site, start: Start, move: int, *, chosen: bool) -> SiteReason:
    """It has room; another was better, or this cycle's share ended before its turn."""
    cost = start.seconds + move / site.bandwidth
    moving = f", {size(move)} to move" if move else ""
    code = "later" if chosen else "turn"
    why = "another was better" if chosen else "the project's turn comes"
    message = f"could start it in {span(cost)}{moving}; {why}"
    parameters = {"start_in": round(cost), "by": start.by.value, "move": move}
    return SiteReason(site.name, Verdict.POSSIBLE, code, message, parameters)


def failed(site: Site) -> SiteReason:
    message = "failed it just now; another site is tried first"
    return SiteReason(site.name, Verdict.POSSIBLE, "failed", message)


def full(site: Site, rooms: Sequence[Room]) -> SiteReason:
    """No room in any partition that fits."""
    waiting = sum(room.partition.waiting for room in rooms)
    running = sum(room.partition.live for room in rooms) - waiting
    foreign = sum(room.partition.foreign_cores for room in rooms)
    numbers: dict[str, int] = {"running": running, "waiting": waiting, "foreign_cores": foreign}
    if site.max_tasks is not None and all(room.shared.tasks <= 0 for room in rooms):
        message = f"has as many tasks as it takes at once ({site.max_tasks})"
        return SiteReason(
            site.name, Verdict.FULL, "most-tasks", message, {**numbers, "limit": site.max_tasks}
        )
    others = f", {foreign} cores in use by others" if foreign else ""
    message = f"is full: {running} running and {waiting} waiting there{others}"
    return SiteReason(site.name, Verdict.FULL, "full", message, numbers)


def held(site: Site, cost: float, better: str, start_in: float, limit: float) -> SiteReason:
    message = (
        f"could start it in {span(cost)}; held, for {span(limit)} at most, for {better}, "
        f"expected in {span(start_in)}"
    )
    return SiteReason(
        site.name,
        Verdict.HELD,
        "held",
        message,
        {"start_in": round(cost), "better": better, "better_in": round(start_in), "limit": limit},
    )
