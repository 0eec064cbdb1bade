"""The catalogue: what data there is, where it lies, and what its rules mean."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext
from django.views.decorators.http import require_safe

from ayni.hub.catalogue import volumes
from ayni.hub.catalogue.models import Dataset, Volume
from ayni.hub.portal import words
from ayni.hub.portal.session import current


@dataclass(frozen=True, slots=True)
class Card:
    title: str
    name: str
    address: str  # as a task's input names it
    version: str
    licence: str
    size: int
    files: int
    residency: str
    release: str


@dataclass(frozen=True, slots=True)
class Holder:
    """A site or a project with its datasets."""

    title: str
    detail: str
    cards: list[Card]


@require_safe
def datasets(request: HttpRequest) -> HttpResponse:
    """The sites' datasets for everybody; the project's own for its people."""
    caller = current(request)
    seen = Q(site__isnull=False)
    if caller:
        seen |= Q(project=caller.project)
    found = (
        Dataset.objects.filter(seen, present=True)
        .select_related("site__institution", "project")
        .order_by("site__institution__member_id", "site__title", "title", "name")
    )
    wanted = request.GET.get("q", "").strip()[:100]
    if wanted:
        found = found.filter(Q(name__icontains=wanted) | Q(title__icontains=wanted))
    kept = volumes.of_project(caller.project) if caller and not wanted else []
    context = {
        "section": "datasets",
        "holders": list(_holders(found)),
        "q": wanted,
        "volumes": [_room(volume) for volume in kept],
    }
    return render(request, "portal/datasets.html", context)


@dataclass(frozen=True, slots=True)
class Room:
    """A volume of the project at a site."""

    name: str
    site: str
    size: int
    used: datetime
    expires: datetime | None
    state: str
    release: str


def _room(volume: Volume) -> Room:
    going = gettext("Se está borrando") if volume.remove else ""
    return Room(
        name=volume.name,
        site=volume.site.title,
        size=volume.size,
        used=volume.used,
        expires=volumes.expires(volume),
        state=going or (gettext("En uso") if volume.mounted else ""),
        release=words.volume_release(volume.release, volume.release_limit, volume.dataset),
    )


def _holders(found: Iterable[Dataset]) -> Iterator[Holder]:
    holders: dict[str, Holder] = {}
    for dataset in found:
        owner = dataset.site or dataset.project
        if owner is None:
            continue
        if owner.name not in holders:
            holders[owner.name] = Holder(owner.title, _detail(dataset), [])
        holders[owner.name].cards.append(_card(dataset, owner.name))
    yield from holders.values()


def _detail(dataset: Dataset) -> str:
    if dataset.site is None:
        return gettext("Archivos de tu proyecto, en el centro de la red")
    institution = dataset.site.institution
    return f"{words.country(institution.member_id)} · {institution.name}"


def _card(dataset: Dataset, owner: str) -> Card:
    inside = dataset.name if dataset.site else dataset.prefix.strip("/")
    rules = (
        words.release(dataset.release, dataset.release_limit),
        words.by_channels(dataset.channels, dataset.channel_limit),
        words.inner_network(dataset.inner_network),
    )
    return Card(
        title=dataset.title or dataset.name,
        name=dataset.name,
        address=f"ayni://{owner}/{inside}/",
        version=dataset.version,
        licence=dataset.licence,
        size=dataset.size,
        files=dataset.files,
        residency=str(words.RESIDENCY.get(dataset.residency, dataset.residency)),
        release=" ".join(rule for rule in rules if rule),
    )
