from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ayni.hub.catalogue.models import Dataset
from ayni.hub.store import commit
from tests.hub import factories
from tests.hub.conftest import API, Api
from tests.hub.store.conftest import file_server, store_folder  # noqa: F401
from tests.hub.store.support import uploaded


@pytest.fixture
def project(store_folder: Path, api: Api) -> Iterator[Api]:  # noqa: F811
    for name in ("lang/quz/1.txt", "lang/quz/2.txt", "lang/arn/1.txt", "lang-other"):
        commit.commit(uploaded(api.project, name, name.encode()))
    yield api


def declaration(**more: Any) -> dict[str, Any]:
    return {"name": "quz", "version": "1", "licence": "PD", "prefix": "lang/quz", **more}


def test_a_folder_becomes_a_dataset(project: Api) -> None:
    answer = project.post(f"{API}/datasets", {"datasets": [declaration(title="Quechua")]})
    assert answer.status_code == 200, answer.content
    [card] = answer.json()["datasets"]
    lines = "".join(
        f"{hashlib.sha256(f'lang/quz/{n}.txt'.encode()).hexdigest()}  {n}.txt\n" for n in (1, 2)
    )
    assert card["sha256"] == hashlib.sha256(lines.encode()).hexdigest()
    assert (card["files"], card["size"]) == (2, 28)
    assert card["url"] == f"ayni://{project.project.name}/lang/quz"
    assert (card["residency"], card["release"]) == ("any", "anything")
    assert project.get(f"{API}/datasets").json()["datasets"] == [card]


def test_declaring_again_brings_it_up_to_date(project: Api) -> None:
    project.post(f"{API}/datasets", {"datasets": [declaration()]})
    commit.commit(uploaded(project.project, "lang/quz/3.txt", b"3"))
    body = {"datasets": [declaration(version="2"), declaration(name="arn", prefix="lang/arn/")]}
    answer = project.post(f"{API}/datasets", body).json()["datasets"]
    assert [(d["name"], d["version"], d["files"]) for d in answer] == [
        ("quz", "2", 3),
        ("arn", "1", 1),
    ]
    assert Dataset.objects.count() == 2


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"prefix": "nothing"}, "prefix"),
        ({"prefix": "../x"}, "prefix"),
        ({"prefix": ".ayni"}, "prefix"),
        ({"name": "Ñ"}, "name"),
        ({"name": ""}, "name"),
        ({"version": ""}, "version"),
        ({"version": "v" * 41}, "version"),
        ({"licence": "x\0"}, "licence"),
        ({"release": "everything"}, "release"),
        ({"release_limit": -1}, "release_limit"),
        ({"release_limit": 1 << 63}, "release_limit"),
        ({"residency": "site"}, "residency"),
    ],
)
def test_a_bad_declaration_names_its_field(
    project: Api, change: dict[str, Any], field: str
) -> None:
    answer = project.post(f"{API}/datasets", {"datasets": [declaration(**change)]})
    assert answer.status_code == 400
    assert f"datasets[0].{field}" in answer.json()["detail"]
    assert not Dataset.objects.exists()


def test_a_name_that_is_there_twice_is_refused(project: Api) -> None:
    body = {"datasets": [declaration(), declaration()]}
    assert "datasets[1].name" in project.post(f"{API}/datasets", body).json()["detail"]


def test_a_dataset_is_taken_off_the_list_and_its_files_stay(project: Api) -> None:
    project.post(f"{API}/datasets", {"datasets": [declaration()]})
    headers = factories.auth(project.secret)
    assert project.client.delete(f"{API}/datasets/quz", headers=headers).json() == {"removed": 1}
    assert project.client.delete(f"{API}/datasets/quz", headers=headers).status_code == 404
    assert project.client.delete(f"{API}/datasets/%00", headers=headers).status_code == 404
    assert project.project.files.count() == 4


def test_one_sees_the_sites_datasets_and_ones_own(
    project: Api, api_for: Callable[..., Api]
) -> None:
    theirs = api_for()
    factories.dataset(name="stays", residency="site")
    factories.dataset(name="theirs", project=theirs.project, prefix="x")
    factories.dataset(name="mine", project=project.project, prefix="lang")
    names = [d["name"] for d in project.get(f"{API}/datasets").json()["datasets"]]
    assert names == ["mine", "stays"]
    headers = factories.auth(project.secret)
    assert project.client.delete(f"{API}/datasets/theirs", headers=headers).status_code == 404


def test_scopes_are_held_to(project: Api) -> None:
    secret = factories.token(project.person, project.project, scopes=["store:read"])
    reading = Api(project.client, secret, project.person, project.project)
    assert reading.get(f"{API}/datasets").status_code == 200
    assert reading.post(f"{API}/datasets", {"datasets": [declaration()]}).status_code == 403
