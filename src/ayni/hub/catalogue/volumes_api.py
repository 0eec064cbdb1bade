"""Site volumes over our own API: what sites hold of a project, and having it deleted."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.http import HttpRequest
from ninja import Router, Schema

from ayni.hub.accounts.tokens import caller
from ayni.hub.catalogue import volumes
from ayni.hub.catalogue.models import Volume

router = Router(tags=["volumes"])


class VolumeOut(Schema):
    name: str
    site: str
    size: int  # as last measured; rounded up where restricted data was read
    created: datetime
    used: datetime  # when the last task that mounted it began or ended
    expires: datetime | None  # unused until then, it goes; None: not known
    mounted: bool
    removing: bool  # it goes as soon as its site has heard that it should
    release: str  # what may leave a task that mounts it
    release_limit: int
    dataset: str  # by which that is bounded


class VolumesOut(Schema):
    volumes: list[VolumeOut]


@router.get("/volumes", response=VolumesOut, summary="What sites hold of the project")
def list_volumes(request: HttpRequest) -> dict[str, Any]:
    """Records only: a volume's bytes never leave its site."""
    project = caller(request, "store:read").project
    return {"volumes": [shown(volume) for volume in volumes.of_project(project)]}


@router.delete("/volumes/{site}/{name}", response=VolumeOut, summary="Have a volume deleted")
def remove_volume(request: HttpRequest, site: str, name: str) -> dict[str, Any]:
    """Its site deletes it as soon as it hears of this; until then it is shown as `removing`."""
    project = caller(request, "store:write").project
    return shown(volumes.ask_to_remove(project, site, name)) | {"removing": True}


def shown(volume: Volume) -> dict[str, Any]:
    """A volume as our API shows it; select `site` with it."""
    return {
        "name": volume.name,
        "site": volume.site.name,
        "size": volume.size,
        "created": volume.created,
        "used": volume.used,
        "expires": volumes.expires(volume),
        "mounted": volume.mounted,
        "removing": volume.remove,
        "release": volume.release,
        "release_limit": volume.release_limit,
        "dataset": volume.dataset,
    }
