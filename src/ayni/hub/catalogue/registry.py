"""Keeping the catalogue in line with what sites hold and what projects declare."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass

from django.db import transaction

from ayni.hub.calls.models import Project
from ayni.hub.catalogue.models import Dataset, Release, Residency
from ayni.hub.http import field_problem
from ayni.hub.network.models import Site
from ayni.hub.store import files, paths
from ayni.protocol.messages import DatasetStatus
from ayni.tes.urls import valid_name

log = logging.getLogger(__name__)

_BIG = (1 << 63) - 1
_HASH = re.compile(r"[0-9a-f]{0,64}")
_CARD = (
    "version",
    "title",
    "licence",
    "size",
    "files",
    "sha256",
    "residency",
    "release",
    "release_limit",
    "channels",
    "channel_limit",
    "inner_network",
)
MOST_FILES = 1_000_000  # of one project's dataset


def take_status(site: Site, datasets: Sequence[DatasetStatus]) -> None:
    """What a site's store holds now. Datasets that it no longer names are kept, as not present.

    A card that cannot be stored is passed over with a line in the log: it must not cost the site its
    sync. Four statements, whatever changes.
    """
    cards = {card.name: card for card in datasets if _sound(site, card)}
    with transaction.atomic():
        known = {d.name: d for d in Dataset.objects.filter(site=site)}
        new, changed = [], []
        for name, card in cards.items():
            dataset = known.get(name)
            if dataset is None:
                new.append(_filled(Dataset(site=site, name=name), card))
            elif not dataset.present or any(getattr(dataset, f) != getattr(card, f) for f in _CARD):
                changed.append(_filled(dataset, card))
        Dataset.objects.bulk_create(new, batch_size=500)
        Dataset.objects.bulk_update(changed, [*_CARD, "present"], batch_size=100)
        gone = [d.pk for name, d in known.items() if d.present and name not in cards]
        Dataset.objects.filter(pk__in=gone).update(present=False)


def _filled(dataset: Dataset, card: DatasetStatus) -> Dataset:
    for field in _CARD:
        setattr(dataset, field, getattr(card, field))
    dataset.present = True
    return dataset


def _sound(site: Site, card: DatasetStatus) -> bool:
    sound = (
        valid_name(card.name)
        and len(card.version) <= 40
        and len(card.title) <= 200
        and len(card.licence) <= 100
        and "\0" not in card.version + card.title + card.licence
        and card.residency in Residency
        and card.release in Release
        and 0 <= card.size <= _BIG
        and 0 <= card.files < 1 << 31
        and 0 <= card.release_limit <= _BIG
        and 0 <= card.channel_limit <= _BIG
        and "\0" not in "".join(card.channels)
        and _HASH.fullmatch(card.sha256) is not None
    )
    if not sound:
        log.warning("site %s names a dataset that cannot be listed: %.80r", site.name, card.name)
    return sound


@dataclass(frozen=True, slots=True)
class Declared:
    """A folder of a project's files, declared to be a dataset."""

    name: str
    version: str
    title: str
    licence: str
    prefix: str
    release: Release
    release_limit: int


@dataclass(frozen=True, slots=True)
class _Measured:
    size: int
    files: int
    sha256: str


def declare(project: Project, declared: Sequence[Declared]) -> list[Dataset]:
    """Make project files datasets, or bring those up to date; in the order given.

    Size and hash are those of the files beneath the prefix now: declare again when they change.

    Raises:
        ProblemError: 400; a name is wrong or doubled, or there is no file beneath a prefix.
    """
    names = [one.name for one in declared]
    for index, one in enumerate(declared):
        if not valid_name(one.name):
            raise field_problem(
                f"datasets[{index}].name", "use small letters, digits and '-', at most 63"
            )
        if one.name in names[:index]:
            raise field_problem(f"datasets[{index}].name", f"{one.name} is there twice")
    measured = [_measure(project, one, index) for index, one in enumerate(declared)]
    rows = [
        Dataset(
            project=project,
            name=one.name,
            version=one.version,
            title=one.title,
            licence=one.licence,
            prefix=paths.readable("prefix", one.prefix),
            residency=Residency.ANY,
            release=one.release,
            release_limit=one.release_limit,
            size=found.size,
            files=found.files,
            sha256=found.sha256,
        )
        for one, found in zip(declared, measured, strict=True)
    ]
    Dataset.objects.bulk_create(
        rows,
        update_conflicts=True,
        unique_fields=["project", "name"],
        update_fields=[*_CARD, "prefix", "present"],
    )
    stored = {d.name: d for d in Dataset.objects.filter(project=project, name__in=names)}
    return [stored[name] for name in names]


def _measure(project: Project, one: Declared, index: int) -> _Measured:
    """The files beneath a prefix; the hash is of `sha256␣␣path` lines, as sites make theirs."""
    field = f"datasets[{index}].prefix"
    folder = paths.readable(field, one.prefix)
    if paths.is_system(folder):
        raise field_problem(field, f"{paths.SYSTEM}/ is the system's; choose another folder")
    rows = files.beneath(project, folder).values_list("path", "size", "upload__sha256")
    size, count, manifest = 0, 0, hashlib.sha256()
    for path, length, sha256 in rows[: MOST_FILES + 1].iterator(chunk_size=2000):
        inner = path.removeprefix(f"{folder}/") if folder else path
        manifest.update(f"{sha256}  {inner}\n".encode())
        size += length
        count += 1
    if not count:
        raise field_problem(field, f"there is no file beneath {folder or 'it'}; put some first")
    if count > MOST_FILES:
        raise field_problem(field, f"holds more than {MOST_FILES} files; pack them together")
    return _Measured(size, count, manifest.hexdigest())
