"""What a site takes: its policy, and the one function that judges a task by it.

The agent parses its operator's TOML into a `Policy` and has the last word. It sends the same policy
to the hub, so that the broker does not send what would be refused; the hub's judgement is a courtesy.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, time
from fnmatch import fnmatchcase
from typing import Annotated, Any, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, Field, field_validator

from ayni.protocol.channels import admitted
from ayni.tes.shape import Shape, channel_ways
from ayni.tes.units import show_amount

T = TypeVar("T")
#: A list from a peer: its first fault is enough, or a million of them would fill the memory.
Many = Annotated[list[T], Field(fail_fast=True)]


class Model(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Who(Model):
    """The human behind a task, as the site's operator sees them."""

    name: str
    email: str
    institution: str
    project: str
    member: str


class Reason(Model):
    """Why something is not so: a code for programs, parameters for translation, words for people."""

    code: str
    message: str
    parameters: dict[str, Any] = {}


Day = Annotated[int, Field(ge=1, le=7)]  # ISO: Monday is 1


class Hours(Model):
    """Hours of the day in which new tasks may start, site's local time; may pass midnight."""

    begin: time
    end: time
    days: Annotated[Many[Day], Field(max_length=7)] = [1, 2, 3, 4, 5, 6, 7]

    @field_validator("begin", "end")
    @classmethod
    def _local(cls, moment: time) -> time:
        if moment.tzinfo is not None:
            raise ValueError("is in the policy's timezone; write it without a zone, as 20:00")
        return moment

    def hold(self, local: datetime) -> bool:
        now = local.time()
        if self.begin <= self.end:
            return local.isoweekday() in self.days and self.begin <= now < self.end
        if now >= self.begin:
            return local.isoweekday() in self.days
        yesterday = (local.isoweekday() - 2) % 7 + 1
        return now < self.end and yesterday in self.days


class Window(Model):
    """A time in which a site runs nothing for the network: maintenance. Unix seconds."""

    begin: Annotated[float, Field(ge=0, le=32503680000)]
    end: Annotated[float, Field(ge=0, le=32503680000)]
    why: Annotated[str, Field(max_length=500)] = ""


Limit = Annotated[int, Field(ge=0, lt=1 << 63)]


class Policy(Model):
    """The part of a site's policy that the hub may know. `None` means no limit of that kind."""

    members: Many[str] | None = None  # ISO 3166 codes
    projects: Many[str] | None = None  # names or patterns (`climate-*`)
    deny_projects: Many[str] = []
    deny_persons: Many[str] = []  # e-mail addresses or patterns
    images: Many[str] = ["host"]  # names or patterns that the site can run
    network: bool = False
    max_cores: Limit | None = None  # of one task, over all its nodes
    max_memory: Limit | None = None  # bytes, of one node of a task
    max_gpus: Limit | None = None
    max_nodes: Limit | None = 1
    max_walltime: Limit | None = None  # seconds
    max_tasks: Limit | None = None  # live at once
    https_from: Many[str] = []  # hosts or patterns from which https inputs may come
    channels: Many[str] | None = None  # PROJECT or PROJECT/CHANNEL, or patterns of them
    max_channel_bytes: Limit | None = None  # that one task may send by channels in all
    hours: Many[Hours] | None = None
    timezone: str = "UTC"

    @field_validator("timezone")
    @classmethod
    def _zone(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:  # "America" is a folder
            raise ValueError(
                f"{name[:80]!r} is no time zone; write one as America/Santiago"
            ) from error
        return name


def _matches(name: str, patterns: list[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def quota_of(quota: int, projects: Mapping[str, int], project: str) -> int:
    """What a project may hold: by its name, by the first pattern that fits it, or as any."""
    fitting = (size for pattern, size in projects.items() if fnmatchcase(project, pattern))
    return projects.get(project, next(fitting, quota))


def _reason(code: str, message: str, **parameters: Any) -> Reason:
    return Reason(code=code, message=message, parameters=parameters)


def unwelcome(policy: Policy, who: Who) -> Iterator[Reason]:
    """Every reason why this site would never take anything from this person."""
    if policy.members is not None and who.member not in policy.members:
        yield _reason("member", f"takes no tasks of member {who.member}", member=who.member)
    if _matches(who.project, policy.deny_projects):
        yield _reason("project", f"refuses project {who.project}", project=who.project)
    elif policy.projects is not None and not _matches(who.project, policy.projects):
        yield _reason("project", f"does not take project {who.project}", project=who.project)
    if _matches(who.email.lower(), [p.lower() for p in policy.deny_persons]):
        yield _reason("person", f"refuses {who.email}", person=who.email)


def refusals(
    policy: Policy,
    shape: Shape,
    who: Who,
    *,
    https_hosts: frozenset[str] = frozenset(),
) -> Iterator[Reason]:
    """Every reason why this site would never take such a task from this person.

    Hours and load are not judged here, since they pass: see `not_now`.
    """
    yield from unwelcome(policy, who)
    for image in shape.images:
        if not _matches(image, policy.images):
            yield _reason("image", f"has no image {image}", image=image)
    if shape.network and not policy.network:
        yield _reason("network", "gives tasks no network")
    for way in channel_ways(shape.channels):
        if not admitted(policy.channels, who.project, way.name):
            message = f"does not relay channel {way.name} of project {who.project}"
            yield _reason("channels", message, channel=way.name)
    for name, wanted, limit in (
        ("cores", shape.cores * shape.nodes, policy.max_cores),
        ("memory", shape.memory, policy.max_memory),
        ("gpus", shape.gpus, policy.max_gpus),
        ("nodes", shape.nodes, policy.max_nodes),
        ("walltime", shape.walltime, policy.max_walltime),
    ):
        if limit is not None and wanted > limit:
            asked, taken = show_amount(name, wanted), show_amount(name, limit)
            message = f"{name}: {asked} asked, at most {taken} taken"
            yield _reason(name, message, wanted=wanted, limit=limit)
    for host in sorted(https_hosts):
        if not _matches(host, policy.https_from):
            yield _reason("https", f"exchanges nothing with {host}", host=host)


def refusal(
    policy: Policy,
    shape: Shape,
    who: Who,
    *,
    https_hosts: frozenset[str] = frozenset(),
) -> Reason | None:
    """The first of `refusals`, or None."""
    return next(refusals(policy, shape, who, https_hosts=https_hosts), None)


def not_now(policy: Policy, now: datetime) -> Reason | None:
    """Why the site takes nothing at this moment, or None. `now` is aware."""
    if policy.hours is None:
        return None
    local = now.astimezone(ZoneInfo(policy.timezone) if policy.timezone != "UTC" else UTC)
    if any(hours.hold(local) for hours in policy.hours):
        return None
    return _reason("hours", "is outside the hours in which it takes tasks")


def next_window(windows: Iterable[Window], now: float) -> Window | None:
    """The window that is open or comes next; None if there is none. `now` is in Unix seconds."""
    ahead = [window for window in windows if window.end > now]
    return min(ahead, key=lambda window: window.begin, default=None)


def reaches(windows: Iterable[Window], walltime: float, now: float) -> Reason | None:
    """Why a task of so many seconds is not taken now: it might not end before a window."""
    window = next_window(windows, now)
    if window is None or now + walltime <= window.begin:
        return None
    return maintenance(window, now)


def maintenance(window: Window, now: float) -> Reason:
    """Why a task that would not end before the window is not taken."""
    begin = datetime.fromtimestamp(window.begin, UTC).strftime("%Y-%m-%d %H:%M UTC")
    end = datetime.fromtimestamp(window.end, UTC).strftime("%Y-%m-%d %H:%M UTC")
    if now >= window.begin:
        message = f"is in maintenance until {end}"
    else:
        message = f"has maintenance from {begin} to {end}; the task might not end before"
    return _reason("maintenance", message, begin=begin, end=end, why=window.why)


def explain(reasons: Mapping[str, Reason]) -> str:
    """Site by site, in one line each."""
    return "\n".join(f"{site}: {reason.message}" for site, reason in sorted(reasons.items()))
