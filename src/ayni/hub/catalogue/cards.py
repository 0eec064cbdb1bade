"""What is shown of a dataset."""

from __future__ import annotations

from typing import Any

from ayni.hub.catalogue.models import Dataset
from ayni.tes.urls import SCHEME


def card(dataset: Dataset) -> dict[str, Any]:
    """A dataset as our API shows it; select `site` and `project` with it."""
    return {
        "name": dataset.name,
        "version": dataset.version,
        "title": dataset.title,
        "licence": dataset.licence,
        "site": dataset.site.name if dataset.site else None,
        "project": dataset.project.name if dataset.project else None,
        "url": url(dataset),
        "size": dataset.size,
        "files": dataset.files,
        "sha256": dataset.sha256,
        "residency": dataset.residency,
        "release": dataset.release,
        "release_limit": dataset.release_limit,
        "channels": dataset.channels,
        "channel_limit": dataset.channel_limit,
        "inner_network": dataset.inner_network,
        "present": dataset.present,
    }


def url(dataset: Dataset) -> str:
    """How a task's DIRECTORY input names the dataset."""
    if dataset.site:
        return f"{SCHEME}{dataset.site.name}/{dataset.name}"
    owner = dataset.project.name if dataset.project else ""
    return f"{SCHEME}{owner}/{dataset.prefix}"
