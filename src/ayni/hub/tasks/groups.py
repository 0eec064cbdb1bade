"""Groups of like tasks: found or made, and remembered in the process."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
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


def own_groups(project: Project, person: Person, groups: Iterable[int]) -> dict[int, int]:
    """For each group, the person's own of the same content; within a transaction."""
    return {g.pk: _own(project, person, g) for g in Group.objects.filter(pk__in=set(groups))}


def _own(project: Project, person: Person, group: Group) -> int:
    if group.person_id == person.pk:
        return group.pk
    place = Place(
        sites=None if group.sites is None else tuple(group.sites),
        data=tuple(sorted(group.data.items())),
        datasets=tuple((site, name) for site, name in group.datasets),
        https_hosts=tuple(group.https_hosts),
    )
    return find_group(project, person, Shape.from_json(group.shape), place)


def _remember(project: int, key: str, group: int) -> None:
    if len(_known) >= _KNOWN:
        _known.clear()
    _known[project, key] = group


def forget() -> None:
    """A transaction failed: what is remembered may be wrong."""
    _known.clear()
