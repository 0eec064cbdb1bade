"""Groups of like tasks: found or made, and remembered in the process."""

from __future__ import annotations

import hashlib
from functools import partial

import orjson
from django.db import transaction

from ayni.hub.accounts.models import Person
from ayni.hub.calls.models import Project
from ayni.hub.tasks.models import Group
from ayni.hub.tasks.places import Place
from ayni.tes.shape import Shape

_KNOWN = 10_000
_known: dict[tuple[int, str], int] = {}


def find_group(project: Project, person: Person, shape: Shape, place: Place) -> int:
    """The group of the person's tasks of this shape that read there; within a transaction."""
    fields = {
        "person_id": person.pk,
        "shape": shape.to_json(),
        "sites": None if place.sites is None else list(place.sites),
        "data": dict(place.data),
        "datasets": [list(one) for one in place.datasets],
        "https_hosts": list(place.https_hosts),
    }
    key = hashlib.sha256(orjson.dumps(fields, option=orjson.OPT_SORT_KEYS)).hexdigest()
    known = _known.get((project.pk, key))
    if known is not None:
        return known
    group, _ = Group.objects.get_or_create(project=project, key=key, defaults=fields)
    transaction.on_commit(partial(_remember, project.pk, key, group.pk))
    return group.pk


def _remember(project: int, key: str, group: int) -> None:
    if len(_known) >= _KNOWN:
        _known.clear()
    _known[project, key] = group


def forget() -> None:
    """A transaction failed: what is remembered may be wrong."""
    _known.clear()
