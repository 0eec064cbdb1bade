"""What is to be submitted, understood and checked as far as this machine can."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypedDict, Unpack

from ayni.client import staging
from ayni.client.build import (
    TO_BE_UPLOADED,
    WORKDIR,
    Options,
    argv,
    build,
    build_array,
    validated,
)
from ayni.client.documents import Parameters, as_parameters
from ayni.client.errors import InvalidTask
from ayni.client.handles import Handle
from ayni.client.models import clean_id
from ayni.client.specs import InputSpec, OutputSpec, absolute, parse_input, parse_output
from ayni.tes.arrays import Array
from ayni.tes.models import Task
from ayni.tes.shape import parse_duration
from ayni.tes.units import parse_size

Sources = Iterable[str | Path] | Mapping[str, str | Path]
Dependency = str | Handle | tuple[str | Handle, str]
_MAIL = re.compile(r"[^@\s,;<>]+@[^@\s,;<>]+\.[^@\s,;<>]+")


class Wishes(TypedDict, total=False):
    """The keywords of `Network.submit`, `map` and `can_run`. See docs/users/python.md."""

    image: str | None
    cores: int | None
    mem: str | int | None  # bytes, or as in "8G"
    disk: str | int | None  # likewise
    time: str | int | timedelta | None  # seconds, or as in "1h30m"
    gpus: int | None
    nodes: int | None
    inputs: Sources
    outputs: str | Iterable[str] | Mapping[str, str]
    after: Dependency | Iterable[Dependency]
    name: str | None
    env: Mapping[str, str]
    tags: Mapping[str, str]
    site: str | None
    partition: str | None
    zones: str | Iterable[str]
    network: bool
    restartable: bool
    channels: str | Iterable[str]  # NAME, NAME:in or NAME:out
    volumes: str | Iterable[str]  # NAME:/path or NAME:/path:ro
    chain: int | None  # links, at most
    warning: str | int | timedelta | None  # before the end of the walltime
    max_attempts: int | None
    notify: str | Iterable[str]


@dataclass(frozen=True, slots=True)
class Draft:
    """A submission before it is sent."""

    options: Options
    base: Task | None
    after: tuple[Mapping[str, str], ...]
    notify: tuple[Mapping[str, str], ...]
    count: int | None = None
    parameters: Parameters | None = None

    @property
    def array(self) -> bool:
        return self.count is not None or self.parameters is not None

    @property
    def rows(self) -> Sequence[Mapping[str, str]]:
        """The parameters of each task, for local inputs that are named by them."""
        if self.parameters is not None:
            return self.parameters
        return [{}] * self.count if self.count is not None else []

    def task(self, results: str, urls: Mapping[str, str] | None = None) -> Task:
        """The TES document; `urls` says where the local inputs lie."""
        return build(self.options, results=results, urls=urls, base=self.base, array=self.array)

    def request(self, task: Task) -> Array:
        return build_array(task, self.count, self.parameters)


def draft(
    command: str | Sequence[str] | Task | Mapping[str, Any] | None,
    *,
    count: int | None = None,
    parameters: Iterable[Mapping[str, Any]] | None = None,
    **wishes: Unpack[Wishes],
) -> Draft:
    """Understand a command (a list of words, or a line for the shell) or a TES task, and wishes.

    Raises:
        InvalidTask: what cannot be sent as it is.
    """
    rows = None if parameters is None else as_parameters(list(parameters))
    base: Task | None = None
    if isinstance(command, Task):
        base, command = command, None
    elif isinstance(command, Mapping):
        base, command = validated(command), None
    draft = Draft(
        options=_options(command or (), wishes, Draft(Options(), None, (), (), count, rows).rows),
        base=base,
        after=tuple(_dependency(one) for one in _listed(wishes.get("after", ()))),
        notify=tuple(_notice(one) for one in _listed(wishes.get("notify", ()))),
        count=count,
        parameters=rows,
    )
    task = draft.task(TO_BE_UPLOADED)  # say what is wrong before anything is read or sent
    if draft.array:
        draft.request(task)
    return draft


def run_name(name: str | None, now: datetime) -> str:
    """A folder's name for the results of one submission: what it is, when, and a little chance."""
    slug = re.sub(r"[^a-z0-9]+", "-", (name or "task").lower()).strip("-")[:40] or "task"
    return f"{slug}-{now:%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def _options(command: str | Sequence[str], wishes: Wishes, rows: staging.Rows) -> Options:
    return Options(
        command=argv(command) if command else (),
        name=wishes.get("name"),
        image=wishes.get("image"),
        cores=wishes.get("cores"),
        memory=_size(wishes.get("mem"), "mem"),
        disk=_size(wishes.get("disk"), "disk"),
        walltime=_seconds(wishes.get("time"), "time"),
        gpus=wishes.get("gpus"),
        nodes=wishes.get("nodes"),
        site=wishes.get("site"),
        partition=wishes.get("partition"),
        zones=tuple(_listed(wishes.get("zones", ()))),
        network=wishes.get("network", False),
        restartable=wishes.get("restartable", False),
        channels=tuple(_listed(wishes.get("channels", ()))),
        volumes=tuple(_listed(wishes.get("volumes", ()))),
        chain=wishes.get("chain"),
        warning=_seconds(wishes.get("warning"), "warning"),
        max_attempts=wishes.get("max_attempts"),
        inputs=_inputs(wishes.get("inputs", ()), rows),
        outputs=_outputs(wishes.get("outputs", ())),
        env={k: str(v) for k, v in (wishes.get("env") or {}).items()},
        tags={k: str(v) for k, v in (wishes.get("tags") or {}).items()},
    )


def _listed(value: Any) -> list[Any]:
    """One thing, or many."""
    if value is None:
        return []
    single = isinstance(value, str | Path | Handle) or (
        isinstance(value, tuple) and len(value) == 2 and value[1] in ("ok", "ended")
    )
    return [value] if single else list(value)


def _inputs(sources: Sources, rows: staging.Rows) -> tuple[InputSpec, ...]:
    def read(text: str) -> InputSpec:
        return parse_input(
            text,
            workdir=WORKDIR,
            exists=lambda path: staging.exists(path, rows),
            is_folder=lambda path: staging.is_folder(path, rows),
        )

    if not isinstance(sources, Mapping):
        return tuple(read(str(source)) for source in _listed(sources))
    named = []
    for path, source in sources.items():
        spec = read(str(source))
        named.append(InputSpec(spec.source, absolute(path, WORKDIR), spec.directory))
    return tuple(named)


def _outputs(outputs: str | Iterable[str] | Mapping[str, str]) -> tuple[OutputSpec, ...]:
    texts = (
        [f"{path}:{url}" for path, url in outputs.items()]
        if isinstance(outputs, Mapping)
        else [str(one) for one in _listed(outputs)]
    )
    return tuple(parse_output(text, workdir=WORKDIR) for text in texts)


def _dependency(one: Dependency) -> Mapping[str, str]:
    what, when = one if isinstance(one, tuple) else (one, "")
    if isinstance(what, Handle):
        what = what.id
    elif not when:
        what, _, when = what.partition(":")
    if when not in ("", "ok", "ended"):
        raise InvalidTask(f"after: {when[:40]!r} is neither 'ok' nor 'ended'")
    return {"id": clean_id(what), "when": when or "ok"}


def _notice(target: str) -> Mapping[str, str]:
    if target.startswith(("https://", "http://")):
        return {"kind": "webhook", "target": target}
    if _MAIL.fullmatch(target):
        return {"kind": "mail", "target": target}
    raise InvalidTask(
        f"notify: {target[:200]!r} is no mail address and no https:// URL for a webhook"
    )


def _size(value: str | int | None, name: str) -> int | None:
    if value is None:
        return None
    try:
        size = parse_size(value) if isinstance(value, str) else int(value)
    except ValueError as error:
        raise InvalidTask(f"{name}: {error}") from error
    if size <= 0:
        raise InvalidTask(f"{name}: must be more than nothing; write 8G or 512MiB")
    return size


def _seconds(value: str | int | timedelta | None, name: str) -> int | None:
    if value is None:
        return None
    if isinstance(value, timedelta):
        return int(value.total_seconds())
    try:
        return parse_duration(value) if isinstance(value, str) else int(value)
    except ValueError as error:
        raise InvalidTask(f"{name}: {error}") from error
