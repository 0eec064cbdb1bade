"""The words of `POST /agent/v1/sync`. Times are Unix seconds, sizes bytes.

Both directions are level-triggered: the agent sends a snapshot of each attempt that changed since
the hub's last acknowledgement, and the hub sends everything that the agent still has to do. So a
lost, doubled or late message changes nothing.

In reports, a number that no database or JSON reader takes is cut, and so is a text that is too long:
one strange report must not keep a site's others from being heard.
"""

from __future__ import annotations

import json
import math
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field

from ayni.protocol.attempts import AttemptState
from ayni.protocol.channels import ChannelUse
from ayni.protocol.charters import MAX_QUESTIONS, MAX_TOLD, CharterQuestion, CharterStatus
from ayni.protocol.policy import Many, Model, Policy, Reason, Who, Window

VERSION = 1
OLDEST_VERSION = 1  # hub and agent understand each other one version back

LOG_TAIL = 64 * 1024
MAX_REPORTS = 1000  # in one request
MAX_TEXT = 4 << 20  # bytes of reports as JSON in one request (one report at least)
MAX_LIVE = 100_000  # attempts that a site is given at once
MAX_INVENTORY = 2 * MAX_LIVE  # it may still have others, which the hub has given up
MAX_NAMES = 4 << 20  # bytes of the paths and URLs of one attempt's outputs
MAX_BODY = 8 << 20  # bytes of a request as sent …
MAX_PLAIN = 24 << 20  # … and unpacked: all of the above, and a status
MAX_ASSIGNMENTS = 1000  # in one reply
MAX_STARTS = 32  # foreseen, in one partition
MAX_WAIT = 25.0  # seconds that the hub may hold a sync open

MAX_VOLUMES = 10_000  # of a site
MAX_GATES = 100  # of a volume

MAX_COMMANDS = 100  # of a task
_LATEST = 32503680000.0  # the year 3000
_BIG = 1 << 63
_PARAMETERS = 16 * 1024  # bytes of a reason's parameters as JSON


def _within(number: int) -> int:
    return max(-_BIG, min(number, _BIG - 1))


def _finite(number: float) -> float:
    return number if math.isfinite(number) else 0.0


def _moment(seconds: float | None) -> float | None:
    return seconds if seconds is not None and 0 <= seconds <= _LATEST else None


Whole = Annotated[int, AfterValidator(_within)]
Size = Annotated[int, AfterValidator(lambda number: max(0, _within(number)))]
Seconds = Annotated[float, AfterValidator(_finite)]
Joules = Annotated[float, AfterValidator(_finite)]
Instant = Annotated[float, AfterValidator(lambda seconds: _moment(seconds) or 0.0)]
Moment = Annotated[float | None, AfterValidator(_moment)]


def _cut(size: int) -> AfterValidator:
    return AfterValidator(lambda text: text[:size])


Name = Annotated[str, _cut(255)]
Words = Annotated[str, _cut(10_000)]
Where = Annotated[str, _cut(4096)]


def _modest(reason: Reason) -> Reason:
    """A reason as it may be kept and shown: cut, and without parameters that are no plain JSON."""
    modest = _is_plain(reason.parameters) and len(json.dumps(reason.parameters)) <= _PARAMETERS
    if modest and len(reason.code) <= 100 and len(reason.message) <= 10_000:
        return reason
    parameters = reason.parameters if modest else {}
    return Reason(code=reason.code[:100], message=reason.message[:10_000], parameters=parameters)


def _is_plain(value: Any, depth: int = 8) -> bool:
    if isinstance(value, int):
        return -_BIG <= value < _BIG
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, dict | list):
        inner = value.values() if isinstance(value, dict) else value
        return depth > 0 and all(_is_plain(one, depth - 1) for one in inner)
    return True


class Message(Model):
    # A newer peer may say more; what an older one does not know, it passes over. Nearly every text
    # is another one: to keep them for the next message would only take memory.
    model_config = ConfigDict(extra="ignore", cache_strings="keys")


# --- agent to hub -----------------------------------------------------------------------------


Windows = Annotated[list[Window], Field(max_length=100)]


class StartStatus(Message):
    """When a task of some size (`tes.size.Size`) would start, as the site's scheduler expects it."""

    cores: int
    memory: int  # GiB
    gpus: int
    walltime: int
    at: Instant
    at_least: bool = False  # not sooner, perhaps later


class PartitionStatus(Message):
    name: str
    nodes: int = 1
    cores_per_node: int
    memory_per_node: int
    gpus_per_node: int = 0
    max_walltime: int
    cores: int  # that the network may use in all, the policy applied
    memory: int
    gpus: int = 0
    foreign_cores: int = 0  # of these, in use by others than the network
    depth: int = 8  # tasks of a size wanted waiting in its own queue, beyond those that fit
    windows: Windows = []  # maintenance of this one alone: its batch system knows of it
    # Foreseen starts, a size once; a site that has no scheduler, or an older agent, says none.
    starts: Annotated[Many[StartStatus], AfterValidator(lambda starts: starts[:MAX_STARTS])] = []


Channels = Annotated[Many[Annotated[str, Field(max_length=200)]], Field(max_length=100)]


class DatasetStatus(Message):
    """A dataset in the site's own store; its bytes are here, the hub learns only this card."""

    name: str
    version: str
    title: str = ""
    licence: str
    size: int
    files: int
    sha256: str  # of the manifest
    residency: str = (
        "site"  # site: stays here; member: may be in this country; any: may go anywhere
    )
    release: str = "nothing"  # nothing, aggregate or anything
    release_limit: int = 0  # bytes a task, for aggregate
    channels: Channels = []  # PROJECT/CHANNEL or patterns: by these alone …
    channel_limit: int = 0  # … and so many bytes a task
    inner_network: bool = False  # for tasks over several nodes, between these


class GateStatus(Message):
    """What one dataset lets through while a task runs: see `protocol.release.Gate`."""

    dataset: Name
    channels: Channels = []
    limit: Size = 0
    inner: bool = False


class VolumeStatus(Message):
    """A volume in the site's own room. Its bytes never leave the site; the hub learns only this."""

    id: Name  # of this one: another that is made later under its name is not meant
    project: Name
    name: Name
    size: Size  # as last measured; of one that read restricted data rounded up to a power of two
    created: Instant
    used: Instant  # when the last task that mounted it began or ended
    mounted: bool = False
    release: Name = "anything"  # what may leave a task that mounts it: see `protocol.release`
    release_limit: Size = 0
    dataset: Name = ""  # which one bounds it
    gates: Annotated[Many[GateStatus], Field(max_length=MAX_GATES)] = []


class VolumesOffer(Message):
    """What a site says of volumes: how much a project may hold there, and for how long."""

    quota: Size  # bytes of one project; 0: none is given
    projects: dict[str, Size] = {}  # the same of particular ones, by name or pattern
    retention: Size  # seconds after its last use until a volume goes
    full: Many[str] = []  # projects that hold as much as they may
    held: Many[VolumeStatus] = []


class HealthNote(Message):
    code: str
    message: str
    remedy: str = ""
    parameters: dict[str, str] = {}  # for translation


class SiteStatus(Message):
    """What the site offers now. Sent whole, when it changed and with the first sync of a session."""

    agent_version: str
    policy: Policy
    partitions: Many[PartitionStatus]
    datasets: Many[DatasetStatus] = []
    health: Many[HealthNote] = []
    sandbox: str = ""  # bubblewrap, unshare, container or none
    draining: Annotated[str, _cut(500)] | None = None  # why the operator takes nothing new now
    windows: Windows = []  # maintenance, announced
    volumes: VolumesOffer | None = None  # None: an agent that does not know them
    # Of channels' charters; None: an agent that does not know them.
    charters: Annotated[Many[CharterStatus], Field(max_length=MAX_TOLD)] | None = None
    # The public key by which its agent signs messages (`ayni.signatures`); None: one that does not.
    signing_key: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None


class CommandReport(Message):
    exit_code: Whole
    started: Instant
    ended: Instant


class LogReport(Message):
    """A log of one command: its last bytes, and where all of it is, once that is known."""

    command: Annotated[int, Field(ge=0, lt=MAX_COMMANDS)]
    stream: Literal["stdout", "stderr"]
    size: Size
    # At most LOG_TAIL bytes of UTF-8, undecodable bytes replaced.
    tail: Annotated[str, AfterValidator(lambda text: text[-LOG_TAIL:])]
    upload: Name | None = None


class OutputReport(Message):
    """One output file: already uploaded and hashed, not yet committed."""

    url: Where
    path: Where
    size: Size
    sha256: Name
    upload: Name | None = None  # None: the url is not the hub's, the site wrote it there


class AllocationReport(Message):
    """What the site's scheduler allocated to an attempt, from its accounting.

    Where several attempts shared a job of the scheduler, each has its part, and the parts sum to
    what the job was given.
    """

    job: Name  # the scheduler's own id; with the time of submission it is never given twice
    submitted: Moment = None
    core_seconds: Seconds
    node_seconds: Seconds
    gpu_seconds: Seconds = 0.0
    memory_seconds: Seconds = 0.0  # byte seconds
    energy: Joules | None = None  # where the site measures it


class UsageReport(Message):
    """What the attempt consumed: seconds and bytes, as its supervisor measured them.

    `allocation` comes later, in another report of the same attempt, where a scheduler keeps accounts.
    """

    job: Name  # the scheduler's own id of the job
    cores: Whole
    nodes: Whole = 1
    gpus: Whole = 0
    wall: Seconds
    cpu: Seconds
    peak_memory: Whole
    queue_wait: Seconds = 0.0
    allocation: AllocationReport | None = None


class Report(Message):
    """A snapshot of one attempt. `seq` grows with every change at this site."""

    attempt: str
    seq: int
    state: AttemptState
    accepted: Moment = None
    started: Moment = None
    ended: Moment = None
    host: Name = ""
    reason: Annotated[Reason, AfterValidator(_modest)] | None = None
    commands: Annotated[Many[CommandReport], Field(max_length=MAX_COMMANDS)] = []
    logs: Annotated[Many[LogReport], Field(max_length=2 * MAX_COMMANDS)] = []
    outputs: Many[OutputReport] = []
    usage: UsageReport | None = None
    system_log: Annotated[Many[Words], AfterValidator(lambda lines: lines[:1000])] = []


class SyncRequest(Message):
    protocol: int = VERSION
    incarnation: str  # of the journal: made with it, lost with it
    generation: int  # of the agent's process: one more at each start, kept in the journal
    session: str  # random at each start; tells a clone from a restart
    number: int  # of this request in the session, from 1
    epoch: str | None = None  # the hub's, as last seen
    since: int  # reports are all that changed after this sequence number …
    through: int  # … up to this one
    reports: Annotated[Many[Report], Field(max_length=MAX_REPORTS)] = []
    status: SiteStatus | None = None
    # Live attempts; with the first sync of a session or epoch.
    inventory: Annotated[Many[str], Field(max_length=MAX_INVENTORY)] | None = None
    wait: float = 0.0


# --- hub to agent -----------------------------------------------------------------------------


class DatasetUse(Message):
    name: str
    release: str
    release_limit: int = 0
    channels: Channels = []
    channel_limit: int = 0
    inner_network: bool = False


class Assignment(Message):
    """An attempt to make. `task` is a TES document, expanded, with the defaults in `shape`."""

    attempt: str
    task_id: str
    number: int  # of the attempt, from 1
    task: dict[str, Any]
    shape: dict[str, Any]
    partition: str
    who: Who
    datasets: list[DatasetUse] = []  # of this site, read by the task
    channels: list[ChannelUse] = []
    link: int = 1  # of a chain


class SyncReply(Message):
    protocol: int = VERSION
    epoch: str
    number: int  # of the request answered
    acknowledged: int
    assignments: list[Assignment] = []
    withdrawals: list[str] = []  # give back, if not yet running
    cancels: list[str] = []
    watched: list[str] = []  # attempts whose logs somebody is reading now
    unknown: list[str] = []  # reported or in the inventory, but the hub has no such live attempt
    remove_volumes: list[str] = []  # ids: to be deleted as soon as nothing mounts them
    # That wait for an answer here, and of which the status says nothing yet.
    charters: Annotated[list[CharterQuestion], Field(max_length=MAX_QUESTIONS)] = []
    want_status: bool = False
    want_inventory: bool = False
