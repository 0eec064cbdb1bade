"""What Slurm's commands print, as records. Pure; tested on recorded output.

Every command is asked for explicit fields. A state or reason that nobody has heard of is kept as it
is: a parser that refuses one would stop every update (see docs/decisions).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from ayni.agent.executors.slurm.values import duration, gres, hosts, limit, moment, size, whole

SQUEUE = "%i|%T|%r|%j|%P|%C|%N|%S|%V"
SACCT = (
    "JobID",
    "JobName",
    "State",
    "ExitCode",
    "Submit",
    "Start",
    "End",
    "ElapsedRaw",
    "AllocCPUS",
    "AllocNodes",
    "AllocTRES",
    "MaxRSS",
    "TotalCPU",
    "NodeList",
    "Reason",
)
#: States in which a job waits, also for its next run.
WAITING = frozenset(
    {"PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "RESV_DEL_HOLD", "SPECIAL_EXIT"}
)
#: States from which there is no way back.
OVER = frozenset(
    {
        "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY",
        "PREEMPTED", "REVOKED", "TIMEOUT",
    }
)  # fmt: skip
_KEY = re.compile(r"(?:^| )([A-Za-z][A-Za-z0-9_:/]*)=")
_WOULD_START = re.compile(r"Job [0-9]+ to start at ([0-9]+) using ")


@dataclass(frozen=True, slots=True)
class Queued:
    """A job that squeue shows; one element of an array."""

    id: str
    state: str
    reason: str
    name: str
    partition: str
    cores: int
    node: str
    start: float | None  # of a waiting one: when the scheduler expects it
    submitted: float | None


@dataclass(frozen=True, slots=True)
class Account:
    """A job as the accounting has it. Times in Unix seconds, memory in bytes."""

    id: str
    name: str
    state: str
    by: str  # CANCELLED by whom: the user's number
    exit_code: int
    signal: int
    submitted: float | None
    started: float | None
    ended: float | None
    elapsed: int
    cores: int
    nodes: int
    gpus: int
    memory: int  # allocated
    peak_memory: int
    cpu: float
    reason: str
    earlier: tuple[Account, ...] = ()  # its runs before it was put back into the queue
    energy: int | None = None  # joules, where the site's Slurm measures them

    @property
    def runs(self) -> tuple[Account, ...]:
        """All of its runs, each with its own time of submission."""
        return (*self.earlier, self)

    @property
    def is_whole(self) -> bool:
        """Whether the job is over and its record complete: an end may be written before its start."""
        return self.state in OVER and self.ended is not None and self.name != "allocation"

    @property
    def has_run(self) -> bool:
        """Whether this run began and ended, whatever became of the job."""
        return self.started is not None and self.ended is not None and self.name != "allocation"


@dataclass(frozen=True, slots=True)
class Node:
    name: str
    partitions: tuple[str, ...]
    state: frozenset[str]
    cores: int
    memory: int
    gpus: int
    used_cores: int
    used_memory: int
    used_gpus: int
    reason: str = ""

    @property
    def usable(self) -> bool:
        """Whether it can be given work, now or when what runs there ends."""
        return not self.state & _UNUSABLE


_UNUSABLE = frozenset({
    "DOWN", "DRAIN", "DRAINED", "DRAINING", "FAIL", "FAILING", "NOT_RESPONDING", "UNKNOWN", "FUTURE",
    "INVAL", "INVALID_REG", "POWERED_DOWN_FAIL", "REBOOT_ISSUED",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Partition:
    name: str
    up: bool
    max_walltime: int  # seconds
    default: bool = False
    qos: str = ""  # whose limits are the partition's, too


@dataclass(frozen=True, slots=True)
class Qos:
    flags: frozenset[str]
    max_wall: int | None  # seconds; None: it limits nothing


@dataclass(frozen=True, slots=True)
class Association:
    """What a user may use with an account; limits are those of the accounts above, too."""

    account: str
    is_default: bool  # the account, for batch jobs that name none
    partition: str  # the only one that it is for; nothing for all
    qos: frozenset[str]
    default_qos: str
    max_wall: int | None  # seconds; None: it limits nothing


#: What sacctmgr is asked for, of a QOS and of an association.
QOS = "Name,Flags,MaxWall"
ASSOCIATION = "DefaultAccount,Account,Partition,QOS,DefaultQOS,MaxWall"


@dataclass(frozen=True, slots=True)
class Reservation:
    """Nodes set apart for a time, in Unix seconds."""

    name: str
    begin: float
    end: float
    nodes: frozenset[str]
    flags: frozenset[str]


def squeue(text: str) -> list[Queued]:
    """The answer to `squeue -h -r -o SQUEUE`; a line that is none is passed over."""
    found = []
    for line in text.splitlines():
        fields = line.split("|")
        if len(fields) == 9:
            job, state, reason, name, partition, cores, node, start, submitted = fields
            found.append(
                Queued(
                    job, state, reason, name, partition, whole(cores), node,
                    moment(start), moment(submitted),
                )
            )  # fmt: skip
    return found


def sacct(text: str) -> dict[str, Account]:
    """The answer to `sacct -P -n -D --format SACCT`: by job, its last run, which knows those before.

    A job's own line is followed by those of its steps, whose memory and time count for it.
    """
    jobs: dict[str, Account] = {}
    for line in text.splitlines():
        values = line.split("|")
        if len(values) != len(SACCT):
            continue
        row = dict(zip(SACCT, values, strict=True))
        job, _, step = row["JobID"].partition(".")
        if not step:
            before = jobs.get(job)
            jobs[job] = replace(_account(job, row), earlier=before.runs if before else ())
        elif (known := jobs.get(job)) is not None:
            peak = max(known.peak_memory, size(row["MaxRSS"], bare=1))
            jobs[job] = replace(known, peak_memory=peak)
    return jobs


def _account(job: str, row: Mapping[str, str]) -> Account:
    state, _, by = row["State"].partition(" by ")
    code, _, number = row["ExitCode"].partition(":")
    tres = dict(item.split("=", 1) for item in row["AllocTRES"].split(",") if "=" in item)
    return Account(
        id=job,
        name=row["JobName"],
        state=state,
        by=by,
        exit_code=whole(code),
        signal=whole(number),
        submitted=moment(row["Submit"]),
        started=moment(row["Start"]),
        ended=moment(row["End"]),
        elapsed=whole(row["ElapsedRaw"]),
        cores=whole(row["AllocCPUS"]),
        nodes=whole(row["AllocNodes"]) or whole(tres.get("node", "0")),
        gpus=whole(tres.get("gres/gpu", "0")),
        memory=size(tres.get("mem", "")),
        peak_memory=size(row["MaxRSS"], bare=1),
        cpu=duration(row["TotalCPU"]),
        reason=row["Reason"],
        energy=_energy(tres.get("energy", "")),
    )


def _energy(text: str) -> int | None:
    """Joules; Slurm writes numbers of nearly 64 bits, or 0, where they were not measured."""
    found = whole(text)
    return found if 0 < found < 1 << 60 else None


def would_start(text: str) -> float | None:
    """What `sbatch --test-only` says of a job that it would take: when it would start."""
    found = _WOULD_START.search(text)
    return moment(found[1]) if found else None


def nodes(text: str) -> list[Node]:
    """The answer to `scontrol show node -o`."""
    found = []
    for row in _records(text):
        if "NodeName" not in row:
            continue
        words = {word.strip("*$~#!%@^-") for word in row.get("State", "").split("+")}
        alloc = dict(
            item.split("=", 1) for item in row.get("AllocTRES", "").split(",") if "=" in item
        )
        found.append(
            Node(
                name=row["NodeName"],
                partitions=tuple(filter(None, row.get("Partitions", "").split(","))),
                state=frozenset(words),
                cores=whole(row.get("CPUEfctv", row.get("CPUTot", "0"))),
                memory=whole(row.get("RealMemory", "0")) << 20,
                gpus=gres(row.get("Gres", "")),
                used_cores=whole(row.get("CPUAlloc", "0")),
                used_memory=whole(row.get("AllocMem", "0")) << 20,
                used_gpus=whole(alloc.get("gres/gpu", "0")),
                reason=row.get("Reason", ""),
            )
        )
    return found


def partitions(text: str) -> list[Partition]:
    """The answer to `scontrol show partition -o`."""
    return [
        Partition(
            name=row["PartitionName"],
            up=row.get("State") == "UP",
            max_walltime=limit(row.get("MaxTime", "")),
            default=row.get("Default") == "YES",
            qos=row.get("QoS", "").replace("N/A", ""),
        )
        for row in _records(text)
        if "PartitionName" in row
    ]


def reservations(text: str) -> list[Reservation]:
    """The answer to `scontrol show reservation -o`; one without times or nodes is passed over."""
    found = []
    for row in _records(text):
        begin, end = moment(row.get("StartTime", "")), moment(row.get("EndTime", ""))
        if "ReservationName" not in row or begin is None or end is None:
            continue
        names = frozenset(hosts(row.get("Nodes", "")))
        flags = frozenset(row.get("Flags", "").split(","))
        found.append(Reservation(row["ReservationName"], begin, end, names, flags))
    return found


def config(text: str) -> dict[str, str]:
    """The answer to `scontrol show config`; `at` is when, in Unix seconds, by the controller's clock."""
    pairs = (line.partition("=") for line in text.splitlines() if " = " in line)
    found = {name.strip(): value.strip() for name, _, value in pairs}
    if (told := re.match(r"Configuration data as of ([0-9]+)\s", text)) is not None:
        found["at"] = told[1]
    return found


def qos(text: str) -> dict[str, Qos]:
    """The answer to `sacctmgr -n -P show qos format=QOS`, by name."""
    rows = (line.split("|") for line in text.splitlines())
    return {
        row[0]: Qos(frozenset(row[1].split(",")), _max_wall(row[2]))
        for row in rows
        if len(row) == 3
    }


def associations(text: str) -> list[Association]:
    """The answer to `sacctmgr -n -P show user … withassoc format=ASSOCIATION`."""
    found = []
    for fields in (line.split("|") for line in text.splitlines()):
        if len(fields) == 6 and fields[1]:  # a user without an account has a line, too
            default, account, partition, names, default_qos, wall = fields
            some = frozenset(filter(None, names.split(",")))
            is_default = account == default
            found.append(
                Association(account, is_default, partition, some, default_qos, _max_wall(wall))
            )
    return found


def _max_wall(text: str) -> int | None:
    return limit(text) if text else None


def _records(text: str) -> Iterator[dict[str, str]]:
    """One-line records of `name=value`, whose values may hold blanks."""
    for line in text.splitlines():
        places = list(_KEY.finditer(line))
        ends = [*(place.start() for place in places[1:]), len(line)]
        yield {
            place[1]: line[place.end() : end].strip()
            for place, end in zip(places, ends, strict=False)  # a line without a name has no end
        }
