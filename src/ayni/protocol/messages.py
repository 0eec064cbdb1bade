"""The words of `POST /agent/v1/sync`. Times are Unix seconds, sizes bytes.

Both directions are level-triggered: the agent sends a snapshot of each attempt that changed since
the hub's last acknowledgement, and the hub sends everything that the agent still has to do. So a
lost, doubled or late message changes nothing.
"""

from __future__ import annotations

from typing import Any

from pydantic import ConfigDict, Field

from ayni.protocol.attempts import AttemptState
from ayni.protocol.policy import Model, Policy, Reason, Who

VERSION = 1
OLDEST_VERSION = 1  # hub and agent understand each other one version back

LOG_TAIL = 64 * 1024
MAX_REPORTS = 1000  # in one request
MAX_ASSIGNMENTS = 1000  # in one reply
MAX_WAIT = 25.0  # seconds that the hub may hold a sync open


class Message(Model):
    # A newer peer may say more; what an older one does not know, it passes over.
    model_config = ConfigDict(extra="ignore")


# --- agent to hub -----------------------------------------------------------------------------


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
    depth: int = 8  # tasks that the site wants waiting in its own queue, beyond those that fit


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


class HealthNote(Message):
    code: str
    message: str
    remedy: str = ""


class SiteStatus(Message):
    """What the site offers now. Sent whole, when it changed and with the first sync of a session."""

    agent_version: str
    policy: Policy
    partitions: list[PartitionStatus]
    datasets: list[DatasetStatus] = []
    health: list[HealthNote] = []
    sandbox: str = ""  # bubblewrap, unshare, container or none


class CommandReport(Message):
    exit_code: int
    started: float
    ended: float


class LogReport(Message):
    """A log of one command: its last bytes, and where all of it is, once that is known."""

    command: int
    stream: str  # stdout or stderr
    size: int
    tail: str  # at most LOG_TAIL bytes of UTF-8, undecodable bytes replaced
    upload: str | None = None


class OutputReport(Message):
    """One output file: already uploaded and hashed, not yet committed."""

    url: str
    path: str
    size: int
    sha256: str
    upload: str | None = None  # None: the url is not the hub's, the site wrote it there


class UsageReport(Message):
    """What the attempt consumed, as the site's scheduler measured it: seconds and bytes."""

    job: str  # the scheduler's own id of the job
    cores: int
    nodes: int = 1
    gpus: int = 0
    wall: float
    cpu: float
    peak_memory: int
    queue_wait: float = 0.0


class Report(Message):
    """A snapshot of one attempt. `seq` grows with every change at this site."""

    attempt: str
    seq: int
    state: AttemptState
    accepted: float | None = None
    started: float | None = None
    ended: float | None = None
    host: str = ""
    reason: Reason | None = None
    commands: list[CommandReport] = []
    logs: list[LogReport] = []
    outputs: list[OutputReport] = []
    usage: UsageReport | None = None
    system_log: list[str] = []


class SyncRequest(Message):
    protocol: int = VERSION
    incarnation: str  # of the journal: made with it, lost with it
    generation: int  # of the agent's process: one more at each start, kept in the journal
    session: str  # random at each start; tells a clone from a restart
    number: int  # of this request in the session, from 1
    epoch: str | None = None  # the hub's, as last seen
    since: int  # reports are all that changed after this sequence number …
    through: int  # … up to this one
    reports: list[Report] = Field(default=[], max_length=MAX_REPORTS)
    status: SiteStatus | None = None
    inventory: list[str] | None = None  # live attempts; with the first sync of a session or epoch
    wait: float = 0.0


# --- hub to agent -----------------------------------------------------------------------------


class DatasetUse(Message):
    name: str
    release: str
    release_limit: int = 0


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
    want_status: bool = False
    want_inventory: bool = False
