"""What the hub answers, typed. A newer hub may say more: unknown fields are passed over."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict

from ayni.client import html
from ayni.client.errors import InvalidTask
from ayni.tes.models import FINAL_STATES, State

_ID = re.compile(r"[0-9a-hjkmnp-tv-z]{13}")  # Crockford's base 32


def clean_id(text: str) -> str:
    """The id of a task or array, as the hub writes it.

    Raises:
        InvalidTask: it cannot be one.
    """
    found = text.strip().lower()
    if not _ID.fullmatch(found):
        raise InvalidTask(f"{text[:80]!r} is no id of a task or array; `ayni ps` lists them")
    return found


def _as_reason(value: Any) -> Any:
    return {"code": "", "message": value} if isinstance(value, str) else value


class Answer(BaseModel):
    model_config = ConfigDict(extra="ignore")

    def _repr_html_(self) -> str:
        return html.answer(self)


class Reason(Answer):
    code: str = ""
    message: str = ""


MaybeReason = Annotated[Reason | None, BeforeValidator(_as_reason)]


class Person(Answer):
    name: str
    email: str
    institution: str | None = None
    member: str | None = None


class Project(Answer):
    name: str
    title: str = ""
    member: str | None = None
    quota: int | None = None  # bytes
    used: int | None = None  # bytes


class Me(Answer):
    """Whose token it is, and what it may do."""

    person: Person
    project: Project
    scopes: list[str] = []
    expires: datetime | None = None


class Partition(Answer):
    name: str
    nodes: int = 1
    cores_per_node: int = 0
    memory_per_node: int = 0  # bytes
    gpus_per_node: int = 0
    max_walltime: int = 0  # seconds
    cores: int = 0  # for the network, in all
    used_cores: int = 0
    running: int = 0
    waiting: int = 0


class Dataset(Answer):
    name: str
    version: str = ""
    title: str = ""
    licence: str = ""
    site: str | None = None
    project: str | None = None
    url: str | None = None
    size: int = 0  # bytes
    files: int = 0
    residency: str = ""
    release: str = ""
    release_limit: int = 0  # bytes a task
    channels: list[str] = []  # by these alone who reads it may send …
    channel_limit: int = 0  # … so many bytes a task
    inner_network: bool = False  # for tasks over several nodes, between these


class Volume(Answer):
    """What a site keeps for the project between its tasks."""

    name: str
    site: str
    size: int = 0  # bytes, as measured last; rounded up where restricted data was read
    created: datetime | None = None
    used: datetime | None = None
    expires: datetime | None = None  # unused until then, it goes
    mounted: bool = False
    removing: bool = False
    release: str = ""  # what may leave a task that mounts it
    release_limit: int = 0
    dataset: str = ""  # by which that is bounded


class HealthNote(Answer):
    code: str = ""
    message: str = ""
    remedy: str = ""


class ForesightError(Answer):
    """How far off foreseen starts were lately."""

    error: float = 0.0  # seconds, the mean
    count: int = 0  # of so many starts


class Foresight(ForesightError):
    """All starts at a site, and apart for each way in which they were known."""

    by: dict[str, ForesightError] = {}


class Site(Answer):
    name: str
    title: str = ""
    member: str | None = None
    institution: str | None = None
    state: str = ""
    last_seen: datetime | None = None
    partitions: list[Partition] = []
    policy: dict[str, Any] | None = None
    takes_you: bool | None = None  # whether its policy takes your project and you
    volumes: dict[str, Any] | None = None  # room for your project: quota, retention, full
    datasets: list[Dataset] = []
    health: list[HealthNote] = []
    signing_key: str | None = None  # by which it signs its messages on channels
    foresight: Foresight | None = None
    latitude: float | None = None
    longitude: float | None = None


class SiteVerdict(Answer):
    """What the broker thinks of one site for one task.

    What it expects of a start is told of a task that is not sent yet (`Network.can_run`).
    """

    site: str
    verdict: str
    code: str = ""
    message: str = ""
    partition: str | None = None  # where it would start first …
    start_in: float | None = None  # … in so many seconds; None: it cannot run there
    by: str | None = None  # how that is known: free, scheduler, history or queue
    usual_error: float | None = None  # seconds


class Chances(Answer):
    """Where a task could run, and what would refuse it."""

    sites: list[SiteVerdict] = []
    chosen: str | None = None

    @property
    def in_order(self) -> list[SiteVerdict]:
        """The sites, where it would start soonest first; last those where it cannot run."""
        return sorted(self.sites, key=lambda one: (_soon(one), one.site))


def _soon(one: SiteVerdict) -> float:
    return float("inf") if one.start_in is None else one.start_in


class PlacementInfo(Answer):
    at: datetime | None = None
    site: str | None = None
    partition: str | None = None
    count: int | None = None


class Why(Answer):
    """Where a task went or why it waits, for every site."""

    id: str
    state: State
    summary: str = ""
    sites: list[SiteVerdict] = []
    placements: list[PlacementInfo] = []
    after: list[dict[str, Any]] = []


class Output(Answer):
    """A file that a task left."""

    path: str  # in the task
    url: str
    size: int = 0  # bytes
    sha256: str | None = None


class Attempt(Answer):
    """One try at a task at one site."""

    id: str
    number: int
    site: str
    partition: str | None = None
    state: str
    assigned: datetime | None = None
    started: datetime | None = None
    ended: datetime | None = None
    host: str = ""
    reason: MaybeReason = None
    superseded: bool = False
    exit_codes: list[int] = []
    usage: dict[str, Any] | None = None


class TaskInfo(Answer):
    """A task as the hub knows it; what only the single task's page tells is empty in listings."""

    id: str
    name: str | None = None
    state: State
    array: str | None = None
    index: int | None = None
    site: str | None = None
    partition: str | None = None
    tries: int = 0
    created: datetime | None = None
    started: datetime | None = None
    ended: datetime | None = None
    reason: MaybeReason = None
    person: Any = None
    attempts: list[Attempt] = []
    shape: dict[str, Any] | None = None
    link: int = 1  # of a chain …
    links: int = 1  # … of so many that there may be
    tags: dict[str, str | None] | None = None
    after: list[dict[str, Any]] = []
    parameters: dict[str, str] | None = None
    outputs: list[Output] = []

    @property
    def final(self) -> bool:
        return self.state in FINAL_STATES

    @property
    def seconds(self) -> float | None:
        """How long it has run, or ran."""
        if self.started is None:
            return None
        return ((self.ended or datetime.now(UTC)) - self.started).total_seconds()


class ArrayInfo(Answer):
    """An array as the hub knows it."""

    id: str
    name: str | None = None
    size: int
    created: datetime | None = None
    ended: datetime | None = None
    counts: dict[str, int] = {}
    rerun_of: str | None = None
    version: Any = None
    template: dict[str, Any] | None = None
    after: list[dict[str, Any]] = []

    @property
    def done(self) -> int:
        """Tasks that have ended."""
        return sum(n for state, n in self.counts.items() if state in FINAL_STATES)

    @property
    def final(self) -> bool:
        return self.done >= self.size

    @property
    def complete(self) -> int:
        return self.counts.get(State.COMPLETE, 0)


class LogPage(Answer):
    """The end of a log: at most 64 KiB. `offset` is that of its first byte in the whole log."""

    text: str = ""
    offset: int = 0
    size: int = 0
    ended: bool = False
    full: str | None = None
    withheld: MaybeReason = None


class StoredFile(Answer):
    """A file of the project at the hub; its path is relative to the project."""

    path: str
    size: int = 0  # bytes
    sha256: str | None = None
    modified: datetime | None = None
