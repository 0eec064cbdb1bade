"""Datasets over our own API: those of all sites, and the project's own."""

from __future__ import annotations

from typing import Annotated, Any

from django.db.models import Q
from django.http import HttpRequest
from ninja import Router, Schema
from pydantic import BaseModel, ConfigDict, Field

from ayni.hub.accounts.tokens import caller
from ayni.hub.catalogue import registry, volumes_api
from ayni.hub.catalogue.cards import card
from ayni.hub.catalogue.models import Dataset, Release
from ayni.hub.http import ProblemError
from ayni.tes.models import Line
from ayni.tes.urls import valid_name

router = Router(tags=["datasets"])
router.add_router("", volumes_api.router)


class DatasetOut(Schema):
    name: str
    version: str
    title: str
    licence: str
    site: str | None
    project: str | None
    url: str  # as a task's input names it
    size: int
    files: int
    sha256: str  # of the manifest
    residency: str
    release: str
    release_limit: int
    channels: list[str]  # by these alone who reads it may send
    channel_limit: int
    inner_network: bool  # for tasks over several nodes, between these
    present: bool  # still at its site


class DatasetsOut(Schema):
    datasets: list[DatasetOut]


class DatasetIn(BaseModel):
    """A folder of the project's files that is to be a dataset."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: Annotated[Line, Field(min_length=1, max_length=63)]
    version: Annotated[Line, Field(min_length=1, max_length=40)]
    title: Annotated[Line, Field(max_length=200)] = ""
    licence: Annotated[Line, Field(min_length=1, max_length=100)]
    prefix: Annotated[Line, Field(max_length=1024)]
    release: Annotated[Release, Field(strict=False)] = Release.ANYTHING
    release_limit: Annotated[int, Field(ge=0, lt=1 << 63)] = 0  # bytes a task


class DatasetsIn(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    datasets: Annotated[list[DatasetIn], Field(min_length=1, max_length=1000)]


class RemovedOut(Schema):
    removed: int


@router.get(
    "/datasets", response=DatasetsOut, summary="Datasets that tasks of the project may read"
)
def list_datasets(request: HttpRequest) -> dict[str, Any]:
    """Those of all sites, and the project's own."""
    project = caller(request, "store:read").project
    found = (
        Dataset.objects.filter(Q(site__isnull=False) | Q(project=project))
        .select_related("site", "project")
        .order_by("name", "id")
    )
    return {"datasets": [card(dataset) for dataset in found]}


@router.post("/datasets", response=DatasetsOut, summary="Make project files datasets")
def declare_datasets(request: HttpRequest, body: DatasetsIn) -> dict[str, Any]:
    """Their files lie at the hub and may be read anywhere. Declaring again brings the card, the size
    and the hash up to date."""
    project = caller(request, "store:write").project
    stored = registry.declare(
        project, [registry.Declared(**one.model_dump()) for one in body.datasets]
    )
    return {"datasets": [card(dataset) for dataset in stored]}


@router.delete(
    "/datasets/{name}", response=RemovedOut, summary="Take a project's dataset off the list"
)
def remove_dataset(request: HttpRequest, name: str) -> dict[str, int]:
    """Its files stay."""
    project = caller(request, "store:write").project
    removed = 0
    if valid_name(name):
        removed, _ = Dataset.objects.filter(project=project, name=name).delete()
    if not removed:
        raise ProblemError(
            404, "No such dataset", f"project {project.name} has no dataset of this name"
        )
    return {"removed": removed}
