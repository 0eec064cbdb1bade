"""/agent/v1/inputs and /agent/v1/uploads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from ayni.hub.calls.models import Project
from ayni.hub.network.models import Site
from ayni.hub.store import commit
from ayni.hub.store.commit import commit_outputs
from ayni.hub.store.models import Upload
from ayni.hub.tasks import ids
from ayni.hub.tasks.models import Attempt
from tests.hub import factories
from tests.hub.store.server import WEB
from tests.hub.store.support import (
    BLOCK,
    array_attempts,
    attempt,
    blocks,
    content,
    document,
    output,
    put,
    read,
    uploaded,
)


class Agent:
    def __init__(self, client: Client, site: Site) -> None:
        self.client, self.site, self.key = client, site, factories.site_token(site)

    def post(self, what: str, body: Any) -> Any:
        return self.client.post(
            f"/agent/v1/{what}",
            data=body,
            content_type="application/json",
            headers=factories.auth(self.key),
        )

    def input(self, row: Attempt, url: str, kind: str = "FILE") -> dict[str, Any]:
        question = {"attempt": ids.show(row.pk), "url": url, "type": kind}
        answer = self.post("inputs", {"requests": [question]})
        assert answer.status_code == 200, answer.content
        [result] = answer.json()["results"]
        return dict(result)

    def upload(self, row: Attempt, url: str, data: bytes) -> dict[str, Any]:
        upload = {"attempt": ids.show(row.pk), "url": url, **blocks(data).model_dump()}
        answer = self.post("uploads", {"uploads": [upload]})
        assert answer.status_code == 200, answer.content
        [result] = answer.json()["results"]
        return dict(result)


@pytest.fixture
def agent(store_folder: Path, client: Client) -> Agent:
    return Agent(client, factories.site())


@pytest.fixture
def project(db: None) -> Project:
    return factories.project()


def reading(project: Project, name: str, kind: str = "FILE") -> dict[str, Any]:
    return {"url": f"ayni://{project.name}/{name}", "path": "/in", "type": kind}


def writing(project: Project, name: str, **more: Any) -> dict[str, Any]:
    return {"url": f"ayni://{project.name}/{name}", "path": "/out", **more}


def test_an_input_file_is_told_with_its_blocks(agent: Agent, project: Project) -> None:
    data = content(BLOCK + 1)
    commit.commit(uploaded(project, "in/a", data))
    wanted = reading(project, "in/a")
    row = attempt(project, agent.site, document(inputs=[wanted]))
    result = agent.input(row, wanted["url"])
    [file] = result["files"]
    assert file["path"] == ""
    assert b"".join(WEB.get(b["url"]).content for b in file["blocks"]) == data


def test_an_input_folder_is_all_beneath_it(agent: Agent, project: Project) -> None:
    for name in ("d/1", "d/e/2", "d0", "dd/3"):
        commit.commit(uploaded(project, name, name.encode()))
    wanted = reading(project, "d/", "DIRECTORY")
    row = attempt(project, agent.site, document(inputs=[wanted]))
    result = agent.input(row, wanted["url"], "DIRECTORY")
    assert [f["path"] for f in result["files"]] == ["1", "e/2"]


def test_the_whole_project_is_a_folder_without_the_systems(agent: Agent, project: Project) -> None:
    wanted = reading(project, "", "DIRECTORY")
    row = attempt(project, agent.site, document(inputs=[wanted]))
    commit.commit(uploaded(project, "a", b"x"))
    commit.commit(uploaded(project, ".ayni/logs/t/0.stdout", b"x", row))
    result = agent.input(row, wanted["url"], "DIRECTORY")
    assert [f["path"] for f in result["files"]] == ["a"]


@pytest.mark.parametrize("kind", ["FILE", "DIRECTORY"])
def test_an_input_that_is_not_there_is_a_problem(agent: Agent, project: Project, kind: str) -> None:
    wanted = reading(project, "nothing", kind)
    row = attempt(project, agent.site, document(inputs=[wanted]))
    problem = agent.input(row, wanted["url"], kind)["problem"]
    assert problem["code"] == "no_such_input"
    assert problem["retryable"] is False


def test_what_is_no_input_of_the_task_is_not_told(agent: Agent, project: Project) -> None:
    commit.commit(uploaded(project, "other", b"x"))
    wanted = reading(project, "in")
    row = attempt(project, agent.site, document(inputs=[wanted]))
    told = agent.input(row, f"ayni://{project.name}/other")
    assert told["problem"]["code"] == "not_an_input"
    assert agent.input(row, wanted["url"], "DIRECTORY")["problem"]["code"] == "not_an_input"


def test_another_projects_file_is_not_told_even_if_the_task_names_it(
    agent: Agent, project: Project
) -> None:
    theirs = factories.project()
    commit.commit(uploaded(theirs, "secret", b"x"))
    wanted = reading(theirs, "secret")
    row = attempt(project, agent.site, document(inputs=[wanted]))
    assert agent.input(row, wanted["url"])["problem"]["code"] == "not_yours"


def test_only_live_attempts_of_this_site_are_answered(agent: Agent, project: Project) -> None:
    commit.commit(uploaded(project, "in", b"x"))
    wanted = reading(project, "in")
    task = document(inputs=[wanted], outputs=[writing(project, "o")])
    elsewhere = attempt(project, factories.site(), task)
    ended = attempt(project, agent.site, task, live=False)
    superseded = attempt(project, agent.site, task, superseded=True)
    for row in (elsewhere, ended, superseded):
        assert agent.input(row, wanted["url"])["problem"]["code"] == "unknown_attempt"
        told = agent.upload(row, f"ayni://{project.name}/o", b"x")
        assert told["problem"]["code"] == "unknown_attempt"
    assert not Upload.objects.filter(path="o").exists()


def test_an_output_is_sent_and_committed(agent: Agent, project: Project) -> None:
    row = attempt(project, agent.site, document(outputs=[writing(project, "out/a")]))
    data, url = content(2 * BLOCK + 3), f"ayni://{project.name}/out/a"
    told = agent.upload(row, url, data)
    assert told["ready"] is False
    put([(m["n"], m["url"]) for m in told["missing"]], data)
    told = agent.upload(row, url, data)
    assert (told["ready"], told["missing"]) == (True, [])
    made = Upload.objects.get(pk=told["upload"])
    assert commit_outputs({row.pk: [output(made)]}) == {}
    assert read(project, "out/a") == data


@pytest.mark.parametrize(
    ("declared", "url", "fine"),
    [
        ({"path": "/o"}, "o", True),
        ({"path": "/o"}, "o/", True),
        ({"path": "/o"}, "o/x", False),
        ({"path": "/o"}, "x", False),
        ({"path": "/o"}, "o/../x", False),
        ({"path": "/o", "type": "DIRECTORY"}, "o/x/y", True),
        ({"path": "/o", "type": "DIRECTORY"}, "o", False),
        ({"path": "/o", "type": "DIRECTORY"}, "ox", False),
        ({"path": "/d/*.txt", "path_prefix": "/d"}, "o/a.txt", True),
        ({"path": "/d/*.txt", "path_prefix": "/d"}, "p/a.txt", False),
    ],
)
def test_outputs_may_only_go_where_the_task_says(
    agent: Agent, project: Project, declared: dict[str, str], url: str, fine: bool
) -> None:
    task = document(outputs=[writing(project, "o", **declared)])
    row = attempt(project, agent.site, task)
    told = agent.upload(row, f"ayni://{project.name}/{url}", b"x")
    assert ("upload" in told) is fine, told


def test_outputs_may_not_go_to_another_project_or_the_system(
    agent: Agent, project: Project
) -> None:
    theirs = factories.project()
    task = document(
        outputs=[
            writing(theirs, "o"),
            writing(project, "", type="DIRECTORY"),
            {"url": "https://example.org/x", "path": "/x"},
        ]
    )
    row = attempt(project, agent.site, task)
    for url in (f"ayni://{theirs.name}/o", f"ayni://{project.name}/.ayni/logs/x", "https://a/b"):
        assert agent.upload(row, url, b"x")["problem"]["code"] in ("not_an_output", "bad_url")
    assert "upload" in agent.upload(row, f"ayni://{project.name}/any/thing", b"x")


@pytest.mark.parametrize("name", ["1.stdout", "0.stdlog", "-1.stdout", "x", "0.stdout/../../a", ""])
def test_only_the_tasks_logs_are_taken(agent: Agent, project: Project, name: str) -> None:
    row = attempt(project, agent.site)
    assert agent.upload(row, f"log:{name}", b"x")["problem"]["code"] == "not_an_output"
    told = agent.upload(row, "log:0.stdout", b"x")
    path = Upload.objects.get(pk=told["upload"]).path
    assert path == f".ayni/logs/{ids.show(row.task_id)}/0.stdout"


def test_an_arrays_placeholders_are_filled(agent: Agent, project: Project) -> None:
    template = document(
        inputs=[reading(project, "in/{{lang}}")],
        outputs=[writing(project, "out/{{index}}-{{lang}}")],
    )
    for lang in ("quz", "arn"):
        commit.commit(uploaded(project, f"in/{lang}", lang.encode()))
    one, two = array_attempts(project, agent.site, template, [{"lang": "quz"}, {"lang": "arn"}])
    assert agent.input(one, f"ayni://{project.name}/in/quz")["files"][0]["size"] == 3
    assert "problem" in agent.input(one, f"ayni://{project.name}/in/arn")
    assert "upload" in agent.upload(two, f"ayni://{project.name}/out/1-arn", b"x")
    assert "problem" in agent.upload(two, f"ayni://{project.name}/out/0-quz", b"x")


def test_the_quota_holds_for_outputs_too(agent: Agent) -> None:
    project = factories.project(quota=10)
    row = attempt(project, agent.site, document(outputs=[writing(project, "o")]))
    told = agent.upload(row, f"ayni://{project.name}/o", content(11))
    assert told["problem"]["code"] == "quota"
    assert told["problem"]["retryable"] is False


def test_answers_come_in_the_order_of_the_questions(agent: Agent, project: Project) -> None:
    row = attempt(project, agent.site, document(outputs=[writing(project, "o", type="DIRECTORY")]))
    urls = [f"ayni://{project.name}/o/{n}" for n in range(3)]
    urls.insert(1, "ayni://other/x")
    asked = [
        {"attempt": ids.show(row.pk), "url": url, **blocks(url.encode()).model_dump()}
        for url in urls
    ]
    results = agent.post("uploads", {"uploads": [*asked, asked[0]]}).json()["results"]
    assert [("upload" in r) for r in results] == [True, False, True, True, True]
    assert results[0]["upload"] == results[4]["upload"]
    paths = [Upload.objects.get(pk=results[n]["upload"]).path for n in (0, 2, 3)]
    assert paths == ["o/0", "o/1", "o/2"]


@pytest.mark.parametrize(
    ("what", "body"),
    [
        ("inputs", {}),
        ("inputs", {"requests": [{}]}),
        ("inputs", {"requests": [{"attempt": "a", "url": "b", "type": "SOCKET"}]}),
        ("uploads", {"uploads": [{"attempt": "a", "url": "b", "size": 1}]}),
        ("uploads", {"uploads": [None]}),
        ("uploads", []),
    ],
)
def test_a_malformed_question_is_a_400(agent: Agent, what: str, body: Any) -> None:
    assert agent.post(what, body).status_code == 400


def test_a_person_is_no_agent(agent: Agent, client: Client) -> None:
    for headers in ({}, factories.auth(factories.token())):
        answer = client.post(
            "/agent/v1/inputs",
            data={"requests": []},
            content_type="application/json",
            headers=headers,
        )
        assert answer.status_code in (401, 403)


def test_a_batch_of_inputs_takes_few_statements(
    agent: Agent, project: Project, django_assert_max_num_queries: Any
) -> None:
    commit.commit(uploaded(project, "shared", b"x"))
    wanted = reading(project, "shared")
    rows = array_attempts(project, agent.site, document(inputs=[wanted]), [{}] * 100)
    asked = [{"attempt": ids.show(r.pk), "url": wanted["url"]} for r in rows]
    with django_assert_max_num_queries(8):
        results = agent.post("inputs", {"requests": asked}).json()["results"]
    assert all(r["files"] for r in results)
