"""Making a task over TES: what is taken, and how what is not is told."""

from __future__ import annotations

import pytest

from ayni.hub.catalogue.models import Release
from ayni.hub.tasks import ids
from ayni.hub.tasks.models import Group, Task

from . import factories as make
from .conftest import API, TES

MINIMAL = {"executors": [{"image": "host", "command": ["true"]}]}


def task(**fields):
    return {**MINIMAL, **fields}


def error_of(answer, status=400):
    assert answer.status_code == status, answer.content
    assert answer["Content-Type"] == "application/problem+json"
    return answer.json()


def test_a_task_is_made_and_queued(api):
    answer = api.post(f"{TES}/tasks", task(name="uno"))
    assert answer.status_code == 200
    made = answer.json()["id"]
    assert api.get(f"{TES}/tasks/{made}").json() == {"id": made, "state": "QUEUED"}


def test_what_only_the_server_says_is_passed_over(api):
    made = api.post(f"{TES}/tasks", task(id="x", state="COMPLETE", logs=[])).json()["id"]
    shown = api.get(f"{TES}/tasks/{made}", {"view": "FULL"}).json()
    assert (shown["id"], shown["state"]) == (made, "QUEUED")
    assert "logs" not in shown


def test_defaults_are_one_core_one_gibibyte_one_hour(api):
    api.post(f"{TES}/tasks", MINIMAL)
    shape = Group.objects.get().shape
    assert (shape["cores"], shape["memory"], shape["walltime"]) == (1, 1 << 30, 3600)


def test_like_tasks_share_a_group(api):
    for _ in range(3):
        api.post(f"{TES}/tasks", MINIMAL)
    api.post(f"{TES}/tasks", task(resources={"cpu_cores": 2}))
    assert Group.objects.count() == 2


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"executors": []}, "executors"),
        ({"executors": [{"command": ["true"]}]}, "executors[0].image"),
        ({"executors": [{"image": "host", "command": ["a\0"]}]}, "executors[0].command[0]"),
        ({"nmae": "x"}, "nmae"),
        ({"inputs": [{"path": "relative", "content": ""}]}, "inputs[0].path"),
        ({"inputs": [{"path": "/a/../b", "content": ""}]}, "inputs[0].path"),
        ({"inputs": [{"path": "/a"}]}, "inputs[0]"),
        ({"inputs": [{"path": "/a", "url": "s3://bucket/a"}]}, "inputs[0].url"),
        ({"inputs": [{"path": "/a", "url": "http://host/a"}]}, "inputs[0].url"),
        ({"inputs": [{"path": "/a", "url": "https:///a"}]}, "inputs[0].url"),
        ({"inputs": [{"path": "/a", "url": "https://u:p@h/a"}]}, "inputs[0].url"),
        ({"inputs": [{"path": "/a", "url": "https://h:x/a"}]}, "inputs[0].url"),
        ({"inputs": [{"path": "/a", "url": "ayni://nobody/a"}]}, "inputs[0].url"),
        (
            {"inputs": [{"path": "/a", "content": "1"}, {"path": "/a", "content": "2"}]},
            "inputs[1].path",
        ),
        ({"outputs": [{"path": "/a", "url": "ayni://nobody/a"}]}, "outputs[0].url"),
        ({"outputs": [{"path": "/a", "url": "file:///etc/passwd"}]}, "outputs[0].url"),
        ({"resources": {"cpu_cores": 0}}, "resources.cpu_cores"),
        ({"resources": {"cpu_cores": True}}, "resources.cpu_cores"),
        ({"resources": {"ram_gb": 1e300}}, "resources.ram_gb"),
        (
            {"resources": {"backend_parameters": {"walltime": "soon"}}},
            "resources.backend_parameters.walltime",
        ),
        (
            {"resources": {"backend_parameters": {"site": "nowhere"}}},
            "resources.backend_parameters.site",
        ),
        (
            {
                "resources": {
                    "backend_parameters": {"queue": "x"},
                    "backend_parameters_strict": True,
                }
            },
            "resources.backend_parameters.queue",
        ),
        ({"tags": {"k\0": "v"}}, "tags.k\0.[key]"),
    ],
)
def test_a_mistake_is_a_400_that_names_the_field(api, fields, where):
    said = error_of(api.post(f"{TES}/tasks", task(**fields)))
    assert said["errors"][0]["field"] == where
    assert said["errors"][0]["message"]
    assert not Task.objects.exists()


def test_an_unknown_backend_parameter_is_dropped_unless_strictness_is_asked(api):
    fields = {"resources": {"backend_parameters": {"queue": "x"}}}
    assert api.post(f"{TES}/tasks", task(**fields)).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"name": "\xff"}',
        b'{"name": "\\ud800"}',
        b"[" * 100_000,
        b'{"resources": {"cpu_cores": 1e999}}',
        b'{"resources": {"cpu_cores": ' + b"9" * 5000 + b"}}",
    ],
)
def test_what_is_no_task_is_a_400(api, body):
    error_of(
        api.client.post(f"{TES}/tasks", body, "application/json", headers=make.auth(api.secret))
    )


def test_another_content_type_is_415(api):
    answer = api.client.post(f"{TES}/tasks", b"{}", "text/plain", headers=make.auth(api.secret))
    error_of(answer, 415)


def test_too_long_a_body_is_413(api):
    body = b'{"name": "' + b"x" * (9 << 20) + b'"}'
    answer = api.client.post(
        f"{TES}/tasks", body, "application/json", headers=make.auth(api.secret)
    )
    error_of(answer, 413)


def test_128_kib_of_content_are_taken(api):
    fields = {"inputs": [{"path": "/a", "content": "x" * (128 << 10)}]}
    assert api.post(f"{TES}/tasks", task(**fields)).status_code == 200


def test_the_projects_own_files_and_the_sites_data_sets_may_be_read(api):
    site = make.site()
    make.dataset(site, name="corpus", size=5 << 20)
    own = {"path": "/a", "url": f"ayni://{api.project.name}/in/a.txt"}
    far = {"path": "/b", "url": f"ayni://{site.name}/corpus/b.txt"}
    assert api.post(f"{TES}/tasks", task(inputs=[own, far])).status_code == 200
    group = Group.objects.get()
    assert group.sites == [site.name]
    assert group.datasets == [[site.name, "corpus"]]
    assert group.data == {site.name: 16 << 20}


def test_a_data_set_that_is_not_there_is_told(api):
    site = make.site()
    far = {"path": "/b", "url": f"ayni://{site.name}/corpus/b.txt"}
    assert "no dataset 'corpus'" in error_of(api.post(f"{TES}/tasks", task(inputs=[far])))["detail"]


def test_data_of_two_sites_has_no_place_to_run(api):
    inputs = []
    for _ in range(2):
        held = make.dataset(make.site())
        inputs.append({"path": f"/{held.pk}", "url": f"ayni://{held.site.name}/{held.name}/x"})
    assert "no site holds both" in error_of(api.post(f"{TES}/tasks", task(inputs=inputs)))["detail"]


def test_a_task_for_another_site_than_its_datas_is_refused(api):
    held, elsewhere = make.dataset(make.site()), make.site()
    reads = [{"path": "/a", "url": f"ayni://{held.site.name}/{held.name}/x"}]

    def asking(site):
        resources = {"backend_parameters": {"site": site.name}}
        return api.post(f"{TES}/tasks", task(inputs=reads, resources=resources))

    told = error_of(asking(elsewhere))
    assert told["errors"][0]["field"] == "resources.backend_parameters.site"
    assert f"data that stays at {held.site.name}; leave the site out" in told["detail"]
    assert asking(held.site).status_code == 200


@pytest.mark.parametrize(
    ("release", "limit", "asked", "field"),
    [
        (Release.NOTHING, 0, "outputs", "outputs[0].url"),
        (Release.AGGREGATE, 0, "outputs", "outputs[0].url"),
        (Release.NOTHING, 0, "network", "resources.backend_parameters.network"),
        (Release.AGGREGATE, 100, "network", "resources.backend_parameters.network"),
        (Release.AGGREGATE, 100, "outputs", None),
        (Release.ANYTHING, 0, "outputs", None),
        (Release.ANYTHING, 0, "network", None),
        (Release.NOTHING, 0, "neither", None),
    ],
)
@pytest.mark.parametrize("dry", [False, True])
def test_what_a_data_sets_card_forbids_is_told_before_the_task_is_made(
    api, release, limit, asked, field, dry
):
    held = make.dataset(name="censo", release=release, release_limit=limit)
    fields = {
        "outputs": {"outputs": [{"path": "/o", "url": f"ayni://{api.project.name}/o"}]},
        "network": {"resources": {"backend_parameters": {"network": "true"}}},
    }.get(asked, {})
    wanted = task(inputs=[{"path": "/a", "url": f"ayni://{held.site.name}/censo/x"}], **fields)
    answer = (
        api.post(f"{API}/sites/for", {"task": wanted}) if dry else api.post(f"{TES}/tasks", wanted)
    )
    if field is None:
        assert answer.status_code == 200, answer.content
        return
    [told] = error_of(answer)["errors"]
    assert told["field"] == field
    assert "dataset censo" in told["message"] and "out" in told["message"]
    assert not Task.objects.exists()


def test_the_hubs_own_folder_is_not_written(api):
    out = {"path": "/a", "url": f"ayni://{api.project.name}/.ayni/logs/x"}
    error_of(api.post(f"{TES}/tasks", task(outputs=[out])))


def test_https_inputs_are_noted_by_host(api):
    api.post(f"{TES}/tasks", task(inputs=[{"path": "/a", "url": "https://Data.Example.org/x?y=z"}]))
    assert Group.objects.get().https_hosts == ["data.example.org"]


def test_identifiers_are_stored_as_they_are_shown(api):
    made = api.post(f"{TES}/tasks", MINIMAL).json()["id"]
    assert ids.show(Task.objects.get().pk) == made
