"""What comes with a task or array beside the TES document: what it waits for, whom to tell."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, StringConstraints

from ayni.hub.accounts.tokens import Caller
from ayni.hub.calls.models import Membership
from ayni.hub.http import ProblemError, field_problem
from ayni.hub.tasks import ids
from ayni.hub.tasks.models import Array, Task
from ayni.tes import arrays
from ayni.tes import models as tes

MAX_KEY = 255
_KEY = re.compile(r"[\x21-\x7e]+")
IdText = Annotated[str, StringConstraints(min_length=1, max_length=64)]


class Dependency(tes.Model):
    """Wait for a task or array: until all of it ended well (`ok`), or ended at all (`ended`)."""

    id: IdText
    when: Literal["ok", "ended"] = "ok"


class Notify(tes.Model):
    """Tell somebody at the end: a person of the project by mail, or a public https address."""

    kind: Literal["mail", "webhook"]
    target: Annotated[str, StringConstraints(min_length=3, max_length=500)]


class _Common(tes.Model):
    after: Annotated[list[Dependency], Field(max_length=1000)] = []
    notify: Annotated[list[Notify], Field(max_length=10)] = []


class NewTask(_Common):
    task: tes.Task


class NewArray(arrays.Array, _Common):
    pass


@dataclass(frozen=True, slots=True)
class Wait:
    """A dependency, found: exactly one of `task` and `array` is set."""

    task: int | None
    array: int | None
    ended_is_enough: bool


def find_dependencies(who: Caller, after: Sequence[Dependency]) -> list[Wait]:
    """What is waited for, in the caller's project.

    Raises:
        ProblemError: 400, there is no such task or array there.
    """
    if not after:
        return []
    numbers = [ids.read(one.id) for one in after]
    wanted = [n for n in numbers if n is not None]
    found: dict[type[Task | Array], set[int]] = {}
    for model in (Task, Array):
        mine = model._default_manager.filter(project=who.project, id__in=wanted)
        found[model] = set(mine.values_list("id", flat=True))
    waits = []
    for place, (one, number) in enumerate(zip(after, numbers, strict=True)):
        ended = one.when == "ended"
        if number in found[Task]:
            waits.append(Wait(number, None, ended))
        elif number in found[Array]:
            waits.append(Wait(None, number, ended))
        else:
            raise field_problem(
                f"after[{place}].id", f"your project has no task or array {one.id!r}"
            )
    return list(dict.fromkeys(waits))


def check_notices(who: Caller, notify: Sequence[Notify]) -> None:
    """Mail goes to people of the project only, webhooks to https addresses.

    Raises:
        ProblemError: 400 that names the field. Where a webhook's host leads is checked when it is sent.
    """
    for place, one in enumerate(notify):
        field = f"notify[{place}].target"
        if one.kind == "mail":
            people = Membership.objects.filter(project=who.project)
            if not people.filter(person__email__iexact=one.target).exists():
                raise field_problem(field, "mail goes only to people of the project")
            continue
        try:
            parts = urlsplit(one.target)
            fits = parts.scheme == "https" and parts.hostname and not parts.username
            _ = parts.port
        except ValueError:
            fits = False
        if not fits or not one.target.isascii() or any(c <= " " for c in one.target):
            raise field_problem(field, "must be a public address, as https://host/path")


def check_key(key: str | None) -> str | None:
    """An Idempotency-Key that may be kept.

    Raises:
        ProblemError: 400, it is empty, too long, or not plain characters.
    """
    if key is None:
        return None
    if len(key) > MAX_KEY or not _KEY.fullmatch(key):
        raise ProblemError(
            400,
            "The request is not valid",
            f"Idempotency-Key: must be 1 to {MAX_KEY} visible ASCII characters",
        )
    return key
