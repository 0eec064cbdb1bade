"""Site volumes on record: whose word is taken, who sees and deletes them, where tasks go by them."""

from __future__ import annotations

from typing import Any

import pytest

from ayni.hub.catalogue.models import Volume
from ayni.hub.catalogue.volumes import orders, take_status
from ayni.hub.network.models import Site
from ayni.hub.tasks.models import Group
from ayni.protocol.messages import VolumeStatus
from tests.hub import factories
from tests.hub.conftest import API

pytestmark = pytest.mark.django_db


def status(project: Any, name: str = "state", **more: Any) -> VolumeStatus:
    told = {"id": "a1", "size": 5, "created": 1e9, "used": 1.1e9}
    return VolumeStatus(project=project.name, name=name, **{**told, **more})


@pytest.fixture
def project(api: Any) -> Any:
    return api.project


@pytest.fixture
def site(project: Any) -> Site:
    """One that was given a task of the project."""
    site = factories.site(name="norte", status={"volumes": {"quota": 1, "retention": 86400}})
    factories.attempt(factories.task(project), site)
    return site


def submit(api: Any, **backend: str) -> Any:
    task = {
        "executors": [{"image": "host", "command": ["true"]}],
        "resources": {"backend_parameters": backend, "backend_parameters_strict": True},
    }
    return api.post(f"{API}/tasks", {"task": task})


def test_new_changed_and_gone_volumes(site: Site, project: Any) -> None:
    take_status(site, [status(project), status(project, "other", id="b2")])
    take_status(site, [status(project, size=7)])
    [row] = Volume.objects.all()
    assert (row.name, row.size, row.project) == ("state", 7, project)


def test_a_site_is_not_believed_of_projects_that_it_has_had_no_task_of(project: Any) -> None:
    take_status(factories.site(), [status(project)])
    assert not Volume.objects.exists()


@pytest.mark.parametrize(
    "wrong",
    [{"name": "../x"}, {"release": "everything"}, {"id": ""}, {"id": "a b"}, {"dataset": "d\x1b"}],
)
def test_what_cannot_be_is_passed_over(site: Site, project: Any, wrong: dict[str, Any]) -> None:
    take_status(site, [status(project, **{"name": "state", **wrong}), status(project, "good")])
    assert [v.name for v in Volume.objects.all()] == ["good"]


def test_a_project_sees_its_own_with_the_day_on_which_they_go(
    api: Any, site: Site, project: Any
) -> None:
    factories.volume(project, site, name="state", size=9)
    factories.volume(factories.project(), site, name="theirs")
    [shown] = api.get(f"{API}/volumes").json()["volumes"]
    assert (shown["name"], shown["site"], shown["size"]) == ("state", "norte", 9)
    assert shown["expires"] > shown["used"] and not shown["removing"]


def test_deleting_is_an_order_that_stands_until_the_site_names_it_no_more(
    api: Any, site: Site, project: Any
) -> None:
    take_status(site, [status(project)])
    answer = api.delete(f"{API}/volumes/norte/state")
    assert answer.json()["removing"] and orders(site.id) == ["a1"]
    take_status(site, [status(project, used=1.2e9)])
    assert orders(site.id) == ["a1"]
    take_status(site, [])
    assert orders(site.id) == []


def test_one_that_was_made_anew_meanwhile_is_not_meant(api: Any, site: Site, project: Any) -> None:
    take_status(site, [status(project)])
    api.delete(f"{API}/volumes/norte/state")
    take_status(site, [status(project, id="c3")])
    assert orders(site.id) == []


@pytest.mark.parametrize(("name", "mounted", "code"), [("x", False, 404), ("state", True, 409)])
def test_what_cannot_be_deleted(
    api: Any, site: Site, project: Any, name: str, mounted: bool, code: int
) -> None:
    factories.volume(project, site, name="state", mounted=mounted)
    assert api.delete(f"{API}/volumes/norte/{name}").status_code == code


# --- where tasks go ---------------------------------------------------------------------------


def test_a_task_goes_to_the_one_site_that_has_its_volume(
    api: Any, site: Site, project: Any
) -> None:
    factories.volume(project, site, name="state")
    assert submit(api, volume="state:/s").status_code == 201
    assert Group.objects.latest("id").sites == ["norte"]


def test_a_volume_that_is_nowhere_or_at_several_sites_needs_a_site(
    api: Any, site: Site, project: Any
) -> None:
    nowhere = submit(api, volume="state:/s")
    assert nowhere.status_code == 400 and "at no site yet" in nowhere.json()["detail"]
    for one in (site, factories.site(name="sur")):
        factories.volume(project, one, name="state")
    both = submit(api, volume="state:/s").json()
    assert both["errors"][0]["field"] == "resources.backend_parameters.volume"
    assert "is at norte, sur" in both["detail"]
    assert submit(api, volume="state:/s", site="sur").status_code == 201


def test_another_projects_volume_draws_no_task(api: Any, site: Site) -> None:
    factories.volume(factories.project(), site, name="state")
    assert submit(api, volume="state:/s").status_code == 400


def test_what_a_volume_holds_bounds_a_task_when_it_is_made(
    api: Any, site: Site, project: Any
) -> None:
    factories.volume(project, site, name="state", release="nothing", dataset="censo")
    refused = submit(api, volume="state:/s:ro", network="true").json()
    assert refused["errors"][0]["field"] == "resources.backend_parameters.network"
    assert "censo" in refused["detail"]
