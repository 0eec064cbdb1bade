"""Making tasks and arrays: checked first, then inserted in one short transaction."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any

import orjson
from django.db import IntegrityError, transaction
from django.utils import timezone

from ayni.hub.accounts.tokens import Caller
from ayni.hub.network import wake
from ayni.hub.tasks import groups, ids, rows
from ayni.hub.tasks.ending import settle_new
from ayni.hub.tasks.idempotency import digest_of, made_before, remember
from ayni.hub.tasks.life import TaskState
from ayni.hub.tasks.models import After, Array, Notice, Task, TaskBody, TaskTag
from ayni.hub.tasks.places import Place
from ayni.hub.tasks.prepare import Prepared, Row, prepare_array, prepare_task
from ayni.hub.tasks.requests import (
    Dependency,
    NewArray,
    NewTask,
    Notify,
    Wait,
    check_key,
    check_notices,
    find_dependencies,
)
from ayni.tes import models as tes
from ayni.tes.shape import Shape

log = logging.getLogger(__name__)

TASKS = Task._meta.db_table
BODIES = TaskBody._meta.db_table
TAGS = TaskTag._meta.db_table


def create_task(
    who: Caller,
    task: tes.Task,
    after: Sequence[Dependency] = (),
    notify: Sequence[Notify] = (),
    idempotency_key: str | None = None,
) -> int:
    """Make one task, durably; its number.

    Raises:
        ProblemError: 400 that names the wrong field; 422 the key was used for another request.
    """
    request = NewTask.model_construct(task=task, after=list(after), notify=list(notify))
    key = check_key(idempotency_key)
    waits = find_dependencies(who, after)
    check_notices(who, notify)
    prepared = prepare_task(who.project, task)

    def make(now: datetime) -> int:
        number = ids.new()
        _insert(who, prepared, number, None, bool(waits), now)
        rows.insert(BODIES, rows.BODY, [(number, prepared.text)], 1)
        _beside(waits, notify, now, task=number)
        return number

    return once(who, digest_of(request) if key else "", key, make)


def create_array(
    who: Caller,
    array: NewArray,
    idempotency_key: str | None = None,
) -> tuple[int, int]:
    """Make an array, durably and whole; its number and size.

    Raises:
        ProblemError: 400 that names the wrong field; 422 the key was used for another request.
    """
    key = check_key(idempotency_key)
    waits = find_dependencies(who, array.after)
    check_notices(who, array.notify)
    prepared = prepare_array(who.project, array)

    def make(now: datetime) -> int:
        number = ids.new(array.size + 1)
        Array.objects.create(
            id=number,
            project=who.project,
            person=who.person,
            name=prepared.name,
            template=prepared.text,
            size=array.size,
            created=now,
        )
        _insert(who, prepared, number + 1, number, bool(waits), now)
        _beside(waits, array.notify, now, array=number)
        return number

    return once(who, digest_of(array) if key else "", key, make), array.size


def once(who: Caller, digest: str, key: str | None, make: Callable[[datetime], int]) -> int:
    """Make it in one transaction, unless the key says that it was made before."""

    def attempt() -> int:
        if key and (made := made_before(who, key, digest)) is not None:
            return made
        now = timezone.now()
        number = make(now)
        if key:
            remember(who, key, digest, number, now)
        wake.broker()
        return number

    return in_transaction(attempt)


def in_transaction(make: Callable[[], int]) -> int:
    """Run `make` in a transaction, again if identifiers clashed or a group has gone (rare)."""
    for _ in range(2):
        try:
            with transaction.atomic():
                return make()
        except IntegrityError as error:
            groups.forget()
            log.info("creating again after a clash: %s", error)
    with transaction.atomic():
        return make()


def _insert(
    who: Caller, prepared: Prepared, first: int, array: int | None, waiting: bool, now: datetime
) -> None:
    lookup = _Groups(who, prepared.shape)
    found = [lookup.of(row) for row in prepared.rows]  # all before the first row goes in
    state = (TaskState.WAITING if waiting else TaskState.QUEUED).value
    project, person = who.project.pk, who.person.pk
    created = rows.moment(now)

    def tasks() -> Iterator[tuple[Any, ...]]:
        for number, (row, group) in enumerate(zip(prepared.rows, found, strict=True), first):
            yield (
                number, project, person, group, array, row.index, _json(row.parameters),
                row.name, state, 0, 0, None, created, None,
            )  # fmt: skip

    rows.insert(TASKS, rows.TASK, tasks(), len(prepared.rows))
    tags = [
        (number, project, key, value)
        for number, row in enumerate(prepared.rows, first)
        for key, value in row.tags.items()
    ]
    if tags:
        rows.insert(TAGS, rows.TAG, tags, len(tags))


class _Groups:
    """The groups of one request's tasks; each is looked up once."""

    def __init__(self, who: Caller, shape: Shape) -> None:
        self.who = who
        self.shape = shape
        self.found: dict[Place, int] = {}

    def of(self, row: Row) -> int:
        number = self.found.get(row.place)
        if number is None:
            number = groups.find_group(self.who.project, self.who.person, self.shape, row.place)
            self.found[row.place] = number
        return number


def _json(value: Any) -> str | None:
    return None if value is None else orjson.dumps(value).decode()


def _beside(
    waits: Sequence[Wait],
    notify: Sequence[Notify],
    now: datetime,
    *,
    task: int | None = None,
    array: int | None = None,
) -> None:
    """What it waits for and whom to tell; then settle what has ended already."""
    if notify:
        Notice.objects.bulk_create(
            Notice(task_id=task, array_id=array, kind=n.kind, target=n.target, created=now)
            for n in notify
        )
    if waits:
        After.objects.bulk_create(
            After(
                task_id=task,
                array_id=array,
                on_task_id=wait.task,
                on_array_id=wait.array,
                ended_is_enough=wait.ended_is_enough,
            )
            for wait in waits
        )
        settle_new(task=task, array=array)
