"""Where a run is and how fast it goes: what the coordinator knows, as plain data. Pure."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from types import MappingProxyType
from typing import Any

from ayni.lm.outer.fragments import WHOLE
from ayni.lm.outer.lineage import head as head_of
from ayni.lm.outer.messages import Record
from ayni.lm.outer.state import Lane, Site, State
from ayni.lm.outer.watch import LEFT, Standing, Tally, standings
from ayni.lm.tasks import SiteTask
from ayni.lm.watching.alarms import Alarm
from ayni.lm.watching.record import Report, mean_by_language

ROUNDS = 9  # the last ones, from which the pace is taken
SHOWN = 10  # alarms


@dataclass(frozen=True)
class Pace:
    """How fast a site trains, over its last rounds. None: not known yet.

    `utilisation`: of the time between its first and its last report, the share in which it trained.
    """

    tokens_per_second: float | None
    utilisation: float | None
    busy: float  # seconds
    span: float  # seconds


def pace(reports: Sequence[Report]) -> Pace:
    """A site's pace from its reports, in the order heard."""
    timed = [report for report in reports if report.seconds > 0][-ROUNDS:]
    seconds = sum(report.seconds for report in timed)
    speed = sum(report.trained for report in timed) / seconds if seconds else None
    span = timed[-1].at - timed[0].at if len(timed) > 1 else 0.0
    busy = min(span, sum(report.seconds for report in timed[1:]))
    return Pace(speed, busy / span if span > 0 else None, busy, span)


class Pulse:
    """The last reports of each site, and the last versions: all that pace needs."""

    def __init__(self) -> None:
        self.reports: dict[str, deque[Report]] = defaultdict(lambda: deque(maxlen=ROUNDS))
        self.versions: deque[tuple[float, int]] = deque(maxlen=ROUNDS)

    def report(self, report: Report) -> None:
        kept = self.reports[report.site]
        if kept and kept[-1].base == report.base:  # said again after a kill
            kept.pop()
        kept.append(report)

    def record(self, record: Record) -> None:
        step = record.data.get("step")
        if record.what == "version" and isinstance(step, int):
            self.versions.append((record.at, step))

    @property
    def steps_per_second(self) -> float | None:
        """Of the run: inner steps between the versions, waiting and exchanges included."""
        if len(self.versions) < 2:
            return None
        (before, first), (after, last) = self.versions[0], self.versions[-1]
        return (last - first) / (after - before) if after > before and last > first else None


def status(
    state: State,
    tallies: Mapping[str, Tally],
    pulse: Pulse,
    alarms: Sequence[Alarm],
    *,
    offered: int,
    now: float,
    sites: Sequence[str] = (),
    tasks: Mapping[str, SiteTask] = MappingProxyType({}),
) -> dict[str, Any]:
    """Where the run is, who is late and why, what each site brought, how fast it goes.

    Args:
        offered: bytes of weights and updates put up for the sites, each once.
        sites: all of the run, also those that have not joined.
        tasks: of the sites, where they are known.
        now: in seconds, of the coordinator's clock.
    """
    lane = _lane(state)
    head = head_of(state, lane)
    paces = {site: pace(list(reports)) for site, reports in pulse.reports.items()}
    span = sum(one.span for one in paces.values())
    steps, speed = state.rules.schedule.steps, pulse.steps_per_second
    latest = [reports[-1] for reports in pulse.reports.values()]
    return {
        "run": state.rules.run,
        "status": head.status,
        "why": state.why_paused,
        "version": head.version,
        "step": head.step,
        "steps": steps,
        "round": {"state": str(lane.state), "inner_steps": head.inner_steps},
        "fragments": len(state.lanes),
        "tokens": sum(tally.tokens for tally in tallies.values()),
        "tokens_per_second": _sum(one.tokens_per_second for one in paces.values()),
        "utilisation": sum(one.busy for one in paces.values()) / span if span else None,
        "seconds_left": (steps - head.step) / speed if speed and head.status != "done" else None,
        "bytes": {
            "up": sum(tally.bytes + tally.refused_bytes for tally in tallies.values()),
            "down": offered,
        },
        "losses": mean_by_language(latest),
        "sites": [
            _site(
                one,
                state.sites.get(one.site),
                tallies.get(one.site, Tally()),
                paces.get(one.site, pace(())),
                pulse.reports[one.site][-1].losses if pulse.reports.get(one.site) else {},
                len(state.lanes),
                now,
            )
            for one in _all(one_to_a_site(standings(state, now)), sites, tasks)
        ],
        "alarms": [asdict(alarm) for alarm in alarms[-SHOWN:]],
    }


def _lane(state: State) -> Lane:
    """The fragment that stands for the run: the one that is furthest behind."""
    if WHOLE in state.lanes:
        return state.lanes[WHOLE]
    return min(
        state.lanes.values(), key=lambda lane: (lane.versions[lane.head].step, lane.fragment)
    )


def _all(
    found: Sequence[Standing], sites: Sequence[str], tasks: Mapping[str, SiteTask]
) -> list[Standing]:
    """The standings with those of sites that have not joined; what is known of the tasks of the others."""
    by_site = {one.site: one for one in found}
    for name in sorted(set(sites) - set(by_site)):
        task = tasks.get(name)
        why = f"has not joined; {task.said}" if task else "has not joined"
        by_site[name] = Standing("", name, False, False, None, why)
    for name, one in by_site.items():
        if one.why == LEFT and name in tasks and tasks[name].final:
            by_site[name] = replace(one, why=f"{LEFT}; {tasks[name].said}")
    return [by_site[name] for name in sorted(by_site)]


def one_to_a_site(found: Iterable[Standing]) -> list[Standing]:
    """Of a site's fragments the one that is waited for, if any."""
    by_site: dict[str, Standing] = {}
    for one in found:
        known = by_site.get(one.site)
        if known is None or (one.awaited and not one.brought and known.brought):
            by_site[one.site] = one
    return [by_site[name] for name in sorted(by_site)]


def _site(
    one: Standing,
    site: Site | None,  # None: it has not joined
    tally: Tally,
    speed: Pace,
    losses: Mapping[str, float],
    fragments: int,
    now: float,
) -> dict[str, Any]:
    joined, site = site is not None, site or Site(one.site, 0, doing="")
    return {
        "site": one.site,
        "joined": joined,
        "why": one.why,
        "brought": one.brought,
        "awaited": one.awaited,
        "behind": one.behind,
        "doing": site.doing,
        "step": site.step,
        "of": site.of,
        "heard_seconds_ago": max(0.0, now - site.heard) if joined else None,
        "rounds": tally.merged // fragments,
        "late": tally.late,
        "clipped": tally.clipped,
        "refused": tally.refused,
        "tokens": tally.tokens,
        "discarded_tokens": tally.discarded_tokens,
        "bytes": tally.bytes,
        "tokens_per_second": speed.tokens_per_second,
        "utilisation": speed.utilisation,
        "losses": dict(losses),
    }


def _sum(found: Iterable[float | None]) -> float | None:
    known = [one for one in found if one is not None]
    return sum(known) if known else None
