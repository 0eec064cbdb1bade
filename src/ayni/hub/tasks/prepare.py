"""A request for a task or an array, checked and made ready to insert. Reads the database, writes nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
import pydantic

from ayni.hub.calls.models import Project
from ayni.hub.channels import find as channels
from ayni.hub.http import ProblemError, field_problem, invalid
from ayni.hub.network.models import Site
from ayni.hub.tasks.places import Place, Resolver
from ayni.tes.arrays import Array, expand, fill, placeholders
from ayni.tes.models import MAX_NAME, Task, document
from ayni.tes.shape import Shape, ShapeError, channel_ways, shape_of
from ayni.tes.urls import MAX_PATH, SCHEME

# Values that cannot turn a good path or URL into a bad one, wherever they are put.
_HARMLESS = re.compile(r"(?!.*(?:\.\.|/\.|//))[A-Za-z0-9_][A-Za-z0-9_.,:=+@/-]*")
_LONG = 100  # characters of one task's values together

# What one request may cost: each bound is some twenty seconds of one core, or less.
MOST_INPUTS = 1_000_000  # over all tasks, where some differ from task to task
MOST_TAGS = 1_000_000  # over all tasks
MOST_CHECKED = 200_000_000  # characters of the template, over all tasks that are checked one by one
MOST_PLACES = 1_000  # different places (datasets, hosts) that the tasks of one array read from

Values = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Row:
    """One task of what was asked."""

    place: Place
    name: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    index: int | None = None
    parameters: Values | None = None


@dataclass(frozen=True, slots=True)
class Prepared:
    text: str  # the document to keep, JSON
    shape: Shape
    name: str
    rows: list[Row]


def prepare_task(project: Project, task: Task) -> Prepared:
    """Check a single task.

    Raises:
        ProblemError: 400 that names the field.
    """
    shape = _shape(project, task)
    resolver = _resolver(project, task, shape)
    resolver.outputs(task.outputs or [])
    place = resolver.place(resolver.inputs(task.inputs or []))
    row = Row(place, task.name or "", _tags(task))
    return Prepared(_text(document(task.submitted())), shape, row.name, [row])


def prepare_array(project: Project, array: Array) -> Prepared:
    """Check an array: the template once, and of each task only what its values change.

    Raises:
        ProblemError: 400 that names the field.
    """
    template = document(array.task.submitted())
    shape = _shape(project, array.task)
    rows = list(_Rows(project, array, template, shape).rows())
    return Prepared(_text(template), shape, array.task.name or "", rows)


def _resolver(project: Project, task: Task, shape: Shape) -> Resolver:
    return Resolver(
        project,
        shape.site,
        outputs=len(task.outputs or ()),
        network=shape.network,
        nodes=shape.nodes,
        sends=[f"{project.name}/{w.name}" for w in channel_ways(shape.channels) if w.sends],
        mounts=shape.volumes,
    )


def _text(task: dict[str, Any]) -> str:
    return orjson.dumps(task).decode()


def _tags(task: Task) -> dict[str, str]:
    return {key: value or "" for key, value in (task.tags or {}).items()}


def _shape(project: Project, task: Task) -> Shape:
    try:
        shape = shape_of(task)
    except ShapeError as error:
        raise field_problem(error.field, error.message) from error
    if shape.site is not None and not Site.objects.filter(name=shape.site).exists():
        raise field_problem(
            "resources.backend_parameters.site",
            f"there is no site {shape.site!r}; see 'ayni sites'",
        )
    wanted = [way.name for way in channel_ways(shape.channels)]
    if absent := channels.missing(project, wanted):
        raise field_problem(
            "resources.backend_parameters.channels",
            f"project {project.name} has no channel {absent[0]!r}; make it first: "
            "'ayni channels create'",
        )
    return shape


class _Rows:
    """Makes an array's rows."""

    def __init__(
        self, project: Project, array: Array, template: dict[str, Any], shape: Shape
    ) -> None:
        self.array = array
        self.template = template
        self.resolver = _resolver(project, array.task, shape)
        inputs = array.task.inputs or []
        varying = [n for n, one in enumerate(inputs) if one.url and placeholders(one.url)]
        self.fixed = self.resolver.inputs([i for n, i in enumerate(inputs) if n not in varying])
        self.varying = [(f"inputs[{n}].url", inputs[n].url or "") for n in varying]
        self.same = self.resolver.place(self.fixed)  # of what does not differ
        self.varies = bool(placeholders(template))
        self.name = array.task.name or ""
        self.name_varies = bool(placeholders(self.name))
        self.tags = _tags(array.task)
        self.tags_vary = bool(placeholders(self.tags))
        self.always_check = _is_long(template) or any(
            "{{" in one.url.removeprefix(SCHEME).partition("/")[0]
            for one in array.task.outputs or []
        )
        if not self.always_check:
            self.resolver.outputs(array.task.outputs or [])
        if varying:
            _bound("task.inputs", array.size, len(self.fixed) + len(varying), MOST_INPUTS)
        _bound("task.tags", array.size, len(self.tags), MOST_TAGS)
        self.places: set[Place] = set()
        self.checks_left = MOST_CHECKED // len(_text(template))

    def rows(self) -> Iterator[Row]:
        for index in range(self.array.size):
            parameters = self.array.parameters[index] if self.array.parameters else None
            if not self.varies:
                yield Row(self.same, self.name, self.tags, index, parameters)
                continue
            values = {"index": str(index), **(parameters or {})}
            if self.always_check or not _harmless(parameters):
                self._check(index, parameters)
            yield Row(
                self._place(index, values),
                fill(self.name, values) if self.name_varies else self.name,
                fill(self.tags, values) if self.tags_vary else self.tags,
                index,
                parameters,
            )

    def _place(self, index: int, values: Values) -> Place:
        if not self.varying:
            return self.same
        refs = dict.fromkeys(self.fixed)
        try:
            for where, url in self.varying:
                refs[self.resolver.ref(fill(url, values), where)[0]] = None
            place = self.resolver.place(refs)
        except ProblemError as error:
            raise _of_row(error, index) from error
        self.places.add(place)
        if len(self.places) > MOST_PLACES:
            raise field_problem(
                "task.inputs",
                f"the tasks read from more than {MOST_PLACES} different datasets and hosts; "
                "make an array for each few",
            )
        return place

    def _check(self, index: int, parameters: Values | None) -> None:
        """The whole task as it will be, judged like a single one."""
        self.checks_left -= 1
        if self.checks_left < 0:
            raise field_problem(
                "task",
                "is too long for so many tasks; make smaller arrays, or put what is long in a file",
            )
        try:
            task = Task.model_validate(expand(self.template, index, parameters))
            self.resolver.outputs(task.outputs or [])
            self.resolver.inputs(task.inputs or [], sized=False)
        except pydantic.ValidationError as error:
            raise _of_row(invalid(error), index) from error
        except ProblemError as error:
            raise _of_row(error, index) from error


def _bound(field: str, tasks: int, each: int, most: int) -> None:
    if tasks * each > most:
        raise field_problem(
            field, f"{tasks} tasks with {each} each are more than {most}; make smaller arrays"
        )


def _of_row(error: ProblemError, index: int) -> ProblemError:
    """The same problem, said of one task of the array."""
    errors = [{**e, "field": f"task {index}: {e['field']}"} for e in error.more.get("errors", [])]
    return ProblemError(error.status, error.title, f"task {index}: {error.detail}", errors=errors)


def _harmless(parameters: Values | None) -> bool:
    values = (parameters or {}).values()
    return sum(map(len, values)) <= _LONG and all(map(_HARMLESS.fullmatch, values))


def _is_long(template: Mapping[str, Any]) -> bool:
    """Whether harmless values may still break a limit of length somewhere in the template."""
    others = list(template.get("tags", {}).values())
    for one in (*template.get("inputs", ()), *template.get("outputs", ())):
        others += [one.get("url", ""), one["path"], one.get("path_prefix", "")]
    for one in template["executors"]:
        others += [one.get(k, "") for k in ("workdir", "stdin", "stdout", "stderr")]
    name = template.get("name", "")
    return _at_most(name) > MAX_NAME or any(_at_most(text) > MAX_PATH for text in others)


def _at_most(text: str) -> int:
    """How long a text may become when harmless values are put in."""
    return len(text) + text.count("{{") * _LONG
