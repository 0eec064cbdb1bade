"""`ayni site policy check`: would this site take this task? Judged as the agent would, nothing is sent."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import yaml
from pydantic import ValidationError

from ayni.agent.config import Config
from ayni.agent.executors.base import PartitionInfo
from ayni.agent.judge import https_hosts, objections
from ayni.agent.offer import partition_status
from ayni.errors import UserError
from ayni.protocol.messages import PartitionStatus
from ayni.protocol.policy import Policy, Reason, Who, not_now
from ayni.tes.models import Task
from ayni.tes.shape import Shape, ShapeError, shape_of
from ayni.tes.units import show_duration, show_size

#: Who asks, when nothing is said: the answer is then about the task alone.
ANYBODY = "CL/some-project/somebody@example.org"


@dataclass(frozen=True, slots=True)
class Line:
    """One rule and what it says of the task."""

    rule: str
    ok: bool
    message: str


def read_task(path: Path) -> Task:
    """A TES task from JSON or YAML.

    Raises:
        UserError: it is not there, or no task.
    """
    try:
        data = yaml.safe_load(path.read_text())
        return Task.model_validate(data)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is neither JSON nor YAML: {error}") from error
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(map(str, fault["loc"])) or "task"
        raise UserError(f"{path}: {where}: {fault['msg']}") from error


def read_who(text: str) -> Who:
    """Who asks, from `MEMBER/PROJECT/EMAIL`.

    Raises:
        UserError: it is not written so.
    """
    parts = text.split("/")
    if len(parts) != 3 or not all(parts):
        raise UserError(f"--as {text!r}: write MEMBER/PROJECT/EMAIL, as in {ANYBODY}")
    member, project, email = parts
    return Who(name="", email=email, institution="", project=project, member=member)


def shape_for(task: Task) -> Shape:
    """Its shape; raises UserError for a backend parameter that cannot be."""
    try:
        return shape_of(task)
    except ShapeError as error:
        raise UserError(str(error)) from error


def queues(config: Config) -> list[PartitionStatus]:
    """The partitions, as if they were empty."""
    ex = config.executor
    whole = (ex.cores, ex.memory, ex.gpus)
    info = PartitionInfo("local", 1, *whole, ex.max_walltime, *whole)
    return [partition_status(config, info, 1)]


def check(
    config: Config, task: Task, shape: Shape, who: Who, at: datetime | None = None
) -> list[Line]:
    """Rule by rule, whether the site takes such a task; the last lines pass with time."""
    partitions = queues(config)
    against: dict[str, list[Reason]] = {}
    for reason in objections(config, task, shape, who, partitions):
        against.setdefault(reason.code, []).append(reason)
    lines = []
    for rule, asked in _asked(config.network_policy, task, shape, who):
        reasons = against.pop(rule, [])
        said = "; ".join(reason.message for reason in reasons)
        lines.append(Line(rule, not reasons, said or asked))
    lines += [Line(code, False, r.message) for code, rest in against.items() for r in rest]
    wanted = shape.partition
    if wanted is not None and wanted not in {p.name for p in partitions}:
        lines.append(Line("partition", False, f"has no partition {wanted}"))
    closed = not_now(config.network_policy, at or datetime.now(UTC))
    if closed is not None:
        lines.append(Line("hours", False, f"{closed.message}; it would be taken within them"))
    return lines


def _asked(policy: Policy, task: Task, shape: Shape, who: Who) -> Iterator[tuple[str, str]]:
    """Each rule with what the task asks and the policy allows, in words."""
    yield "member", f"{who.member} {_of(policy.members)}"
    yield "project", f"{who.project} {_of(policy.projects)}"
    yield "person", f"{who.email} is not denied"
    yield "image", ", ".join(dict.fromkeys(executor.image for executor in task.executors))
    yield "network", "asked and given" if shape.network else "not asked"
    yield "cores", f"{shape.cores * shape.nodes} {_most(policy.max_cores)}"
    limit = show_size(policy.max_memory) if policy.max_memory is not None else None
    yield "memory", f"{show_size(shape.memory)} {_most(limit)}"
    yield "gpus", f"{shape.gpus} {_most(policy.max_gpus)}"
    yield "nodes", f"{shape.nodes} {_most(policy.max_nodes)}"
    limit = show_duration(policy.max_walltime) if policy.max_walltime is not None else None
    yield "walltime", f"{show_duration(shape.walltime)} {_most(limit)}"
    yield "channels", _channels(policy, shape)
    names = ", ".join(mount.name for mount in shape.volumes)
    yield "volume", names or "no volume asked"
    yield "https", ", ".join(sorted(https_hosts(task))) or "no exchange by https"


def _channels(policy: Policy, shape: Shape) -> str:
    if not shape.channels:
        return "none used"
    limit = policy.max_channel_bytes
    most = "any number of" if limit is None else f"at most {show_size(limit)}, in"
    return f"{', '.join(shape.channels)}: relayed, {most} bytes of the task in all"


def _of(allowed: list[str] | None) -> str:
    return "of any" if allowed is None else f"of {', '.join(allowed)}"


def _most(limit: object) -> str:
    return "(no limit)" if limit is None else f"of at most {limit}"


def as_json(lines: list[Line]) -> str:
    answer = {
        "taken": all(line.ok for line in lines),
        "lines": [{"rule": ln.rule, "ok": ln.ok, "message": ln.message} for ln in lines],
    }
    return json.dumps(answer, indent=2)
