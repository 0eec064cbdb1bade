"""What live attempts may read and write: the URLs in their tasks' documents, and nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from ayni.hub.calls.models import Project
from ayni.hub.network.models import Site
from ayni.hub.store import paths
from ayni.hub.store.declaration import Refused
from ayni.hub.tasks import ids
from ayni.hub.tasks.models import Attempt, Task
from ayni.tes.arrays import fill
from ayni.tes.shape import channel_ways
from ayni.tes.urls import SCHEME, UrlError, parse

_SHA256 = re.compile(r"[0-9a-f]{64}")
STREAMS = ("stdout", "stderr")


@dataclass(frozen=True, slots=True)
class LiveAttempt:
    """A live attempt, with that part of its task which names files."""

    id: int
    task: int
    project: Project
    inputs: frozenset[tuple[str, str]]  # URL and type
    files: frozenset[str]  # paths of output files
    folders: tuple[str, ...]  # paths beneath which outputs may lie
    commands: int
    sends: frozenset[str]  # channels

    def readable(self, url: str, kind: str) -> str:
        """The path of an input.

        Raises:
            Refused: it is no input of the task, or not of its own project.
        """
        if (url, kind) not in self.inputs:
            raise Refused("not_an_input", f"{url[:200]} is no {kind} input of this task")
        try:
            parsed = parse(url)
        except UrlError as error:
            raise Refused("bad_url", str(error)) from error
        if parsed.owner != self.project.name:
            raise Refused("not_yours", f"{url[:200]} is not of project {self.project.name}")
        return parsed.path

    def writable(self, url: str) -> str:
        """The path of an output, of a log (`log:N.stdout`) or a blob (`channel:NAME/SHA256`).

        Raises:
            Refused: it is no output of the task.
        """
        if url.startswith("log:"):
            return self._log(url.removeprefix("log:"))
        if url.startswith("channel:"):
            return self._blob(url.removeprefix("channel:"))
        try:
            parsed = parse(url)
        except UrlError as error:
            raise Refused("bad_url", str(error)) from error
        path = parsed.path
        beneath = any(path.startswith(f"{folder}/") or not folder for folder in self.folders)
        if parsed.owner != self.project.name or not (path in self.files or beneath):
            raise Refused("not_an_output", f"{url[:200]} is no output of this task")
        if not path or paths.is_system(path):
            raise Refused("bad_url", f"{url[:200]}: {paths.SYSTEM}/ is the system's")
        return path

    def _log(self, name: str) -> str:
        number, _, stream = name.partition(".")
        known = number.isascii() and number.isdigit() and len(number) <= 4 and stream in STREAMS
        if not known or int(number) >= self.commands:
            raise Refused("not_an_output", f"log:{name[:40]} is no log of this task")
        return paths.log_path(ids.show(self.task), int(number), stream)

    def _blob(self, name: str) -> str:
        channel, _, sha256 = name.partition("/")
        if channel not in self.sends:
            raise Refused("not_a_channel", f"the task does not send on channel {channel[:80]!r}")
        if not _SHA256.fullmatch(sha256):
            raise Refused("bad_url", f"{sha256[:80]!r} is no SHA-256")
        return paths.blob_path(channel, sha256)


def live(site: Site, names: Collection[str]) -> dict[str, LiveAttempt]:
    """Those of the named attempts that run at this site and that the hub has not given up."""
    numbers = {number: name for name in names if (number := ids.read(name)) is not None}
    rows = Attempt.objects.filter(
        pk__in=numbers, site=site, live=True, superseded=False
    ).select_related("task__project", "task__array", "task__body", "task__group")
    templates: dict[int, Any] = {}
    return {
        numbers[row.pk]: _live(row, _files(row.task, templates)) for row in rows.defer("report")
    }


def foreign_places(task: Task) -> list[str]:
    """The URLs, not the hub's, to which a task's outputs go or beneath which they lie."""
    urls = [output["url"] for output in _files(task, {})["outputs"]]
    return [url.rstrip("/") for url in urls if not url.startswith(SCHEME)]


def _files(task: Task, templates: dict[int, Any]) -> Mapping[str, Any]:
    """The task's inputs, outputs and number of commands; an array's template is read once."""
    if task.array is None:
        return _relevant(json.loads(task.body.document))
    if task.array.pk not in templates:
        templates[task.array.pk] = _relevant(json.loads(task.array.template))
    values = {"index": str(task.index), **(task.parameters or {})}
    filled: Mapping[str, Any] = fill(templates[task.array.pk], values)
    return filled


def _relevant(document: Mapping[str, Any]) -> dict[str, Any]:
    inputs = document.get("inputs") or []
    return {
        "inputs": [[i["url"], i.get("type") or "FILE"] for i in inputs if i.get("url")],
        "outputs": [
            {k: o[k] for k in ("url", "path", "type") if k in o}
            for o in document.get("outputs") or []
        ],
        "commands": len(document["executors"]),
    }


def _live(row: Attempt, relevant: Mapping[str, Any]) -> LiveAttempt:
    files, folders = set(), []
    for output in relevant["outputs"]:
        try:
            url = parse(output["url"])
        except UrlError:
            continue  # not the hub's: the site writes it there
        if url.owner != row.task.project.name:
            continue
        many = output.get("type") == "DIRECTORY" or any(c in output["path"] for c in "*?[")
        if many:
            folders.append(url.path)
        else:
            files.add(url.path)
    return LiveAttempt(
        id=row.pk,
        task=row.task.pk,
        project=row.task.project,
        inputs=frozenset((url, kind) for url, kind in relevant["inputs"]),
        files=frozenset(files),
        folders=tuple(folders),
        commands=relevant["commands"],
        sends=frozenset(
            way.name
            for way in channel_ways(row.task.group.shape.get("channels") or ())
            if way.sends
        ),
    )
