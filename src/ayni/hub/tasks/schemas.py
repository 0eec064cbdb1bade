"""What our own API says of tasks and arrays. `tes.State` names are what a client sees."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from ninja import Field, Header, Schema
from pydantic import ConfigDict, StringConstraints

from ayni.hub.tasks.requests import MAX_KEY
from ayni.tes.filters import DEFAULT_PAGE, MAX_PAGE, MAX_TAGS
from ayni.tes.models import State

MAX_WAIT = 25.0  # seconds
Plain = Annotated[str, StringConstraints(max_length=4096, pattern=r"^[^\x00]*$")]
Seconds = Annotated[float, Field(ge=0, le=MAX_WAIT, allow_inf_nan=False)]
Key = Annotated[
    str | None,
    Header(alias="Idempotency-Key", min_length=1, max_length=MAX_KEY, pattern=r"^[!-~]+$"),
]
PageSize = Annotated[int, Field(ge=1, le=MAX_PAGE)]


class Made(Schema):
    id: str


class MadeArray(Made):
    size: int


class Done(Schema):
    """Nothing more to say."""


class TaskReason(Schema):
    code: str
    message: str
    parameters: dict[str, Any] = {}


class Submitter(Schema):
    name: str
    email: str


class TaskRow(Schema):
    id: str
    name: str
    state: State
    array: str | None
    index: int | None
    site: str | None  # of the latest attempt, as are partition and started
    partition: str | None
    tries: int
    created: datetime
    started: datetime | None
    ended: datetime | None
    reason: TaskReason | None
    person: Submitter


class TaskPage(Schema):
    tasks: list[TaskRow]
    next_page_token: str | None


class AllocationOut(Schema):
    """What the site's accounting says that the attempt was given; `energy` in joules, where measured."""

    job: str
    submitted: float | None = None
    core_seconds: float
    node_seconds: float
    gpu_seconds: float = 0.0
    memory_seconds: float = 0.0
    energy: float | None = None


class UsageOut(Schema):
    """Seconds and bytes, as the site's scheduler measured them."""

    job: str
    cores: int
    nodes: int
    gpus: int
    wall: float
    cpu: float
    peak_memory: int
    queue_wait: float
    allocation: AllocationOut | None = None


class AttemptOut(Schema):
    id: str
    number: int
    site: str
    partition: str
    state: str
    assigned: datetime
    started: datetime | None
    ended: datetime | None
    host: str
    reason: TaskReason | None
    superseded: bool
    exit_codes: list[int]
    usage: UsageOut | None


class AfterOut(Schema):
    id: str
    when: Literal["ok", "ended"]
    settled: bool


class OutputOut(Schema):
    path: str
    url: str
    size: int
    sha256: str


class TaskOut(TaskRow):
    attempts: list[AttemptOut]
    shape: dict[str, Any]
    link: int  # of its chain: which one …
    links: int  # … of so many that there may be; 1: it is no chain
    tags: dict[str, str]
    after: list[AfterOut]
    parameters: dict[str, str] | None
    outputs: list[OutputOut]


class Verdict(Schema):
    site: str
    verdict: str  # chosen, possible, full, held or ineligible
    code: str
    message: str
    start_in: float | None = None  # seconds, as expected when this was judged
    by: str | None = None  # how that was known: free, scheduler, history or queue


class PlacementOut(Schema):
    at: datetime
    site: str | None  # None: all of the group waited
    partition: str | None
    count: int


class WhyOut(Schema):
    id: str
    state: State
    summary: str
    sites: list[Verdict]
    placements: list[PlacementOut]
    after: list[AfterOut]


class LogOut(Schema):
    """The end of a log, at most 64 KiB; `offset` is that of its first byte in the whole."""

    text: str
    offset: int
    size: int
    ended: bool
    full: str | None  # the whole log, among the project's files
    withheld: TaskReason | None


class ArrayRow(Schema):
    id: str
    name: str
    size: int
    created: datetime
    ended: datetime | None
    counts: dict[str, int]  # tasks by state
    rerun_of: str | None


class ArrayPage(Schema):
    arrays: list[ArrayRow]
    next_page_token: str | None


class ArrayOut(ArrayRow):
    version: str  # changes when the counts do
    template: dict[str, Any]
    after: list[AfterOut]


# --- what is asked ----------------------------------------------------------------------------


class Asked(Schema):
    model_config = ConfigDict(extra="forbid")


class PageAsked(Asked):
    page_size: PageSize = DEFAULT_PAGE
    page_token: Plain = ""


class TasksAsked(PageAsked):
    """Filters; a `tag_value` goes with the `tag_key` in its place, and one that is missing fits any."""

    state: State | None = None
    name_prefix: Plain = ""
    array: Plain | None = None
    tag_key: Annotated[list[Plain], Field(max_length=MAX_TAGS)] = []
    tag_value: Annotated[list[Plain], Field(max_length=MAX_TAGS)] = []


class WaitAsked(Asked):
    """With `wait`, the answer comes when something else than `seen` can be told, or in so many seconds."""

    wait: Seconds = 0.0
    seen: Plain = ""


class LogAsked(Asked):
    command: Annotated[int, Field(ge=0, le=99)] = 0
    stream: Literal["stdout", "stderr"] = "stdout"
    attempt: Annotated[int, Field(ge=1, le=32_767)] | None = None  # its number; None: the latest
    watch: bool = False  # the site sends what comes at once, for a minute
    wait: Seconds = 0.0
    seen: Annotated[int, Field(ge=0, le=1 << 62)] | None = None  # the size seen last
