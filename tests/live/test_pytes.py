"""py-tes 1.1.4, a client of others, runs a real workflow over the network."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from ayni.client import Network
from ayni.demo.stage import Stage
from tests.live.alliance import PROJECT

pytestmark = [pytest.mark.live, pytest.mark.needs("py-tes")]

LIMIT = 120  # seconds for a task to end
NUMBERS = range(1, 501)


@pytest.fixture(scope="module")
def client(stage: Stage) -> Any:
    """py-tes, signed in as its users are: with an address and a token."""
    import tes

    return tes.HTTPClient(stage.url, token=stage.secrets["tokens"]["researcher"])


def url(path: str) -> str:
    return f"ayni://{PROJECT}/{path}"


def task(name: str, script: str, **fields: Any) -> Any:
    """A task that runs a script; `inputs` and `outputs` are {path in the task: path in the project}."""
    import tes

    return tes.Task(
        name=name,
        executors=[tes.Executor(image="alpine", command=["sh", "-c", script])],
        inputs=[tes.Input(url=url(u), path=p) for p, u in fields.pop("inputs", {}).items()],
        outputs=[tes.Output(url=url(u), path=p) for p, u in fields.pop("outputs", {}).items()],
        **fields,
    )


def finish(client: Any, *ids: str) -> list[str]:
    return [client.wait(id, timeout=LIMIT).state for id in ids]


def test_a_workflow_of_four_steps_passes_its_data_through_the_project(
    client: Any, network: Network, tmp_path: Path
) -> None:
    make = task(
        "make", f"seq {len(NUMBERS)} > /out/numbers",
        outputs={"/out/numbers": "flow/numbers"},
    )  # fmt: skip
    assert finish(client, client.create_task(make)) == ["COMPLETE"]
    transforms = [
        task(
            name, f"awk '{{ print $1, {formula} }}' /in/numbers > /out/{name}",
            inputs={"/in/numbers": "flow/numbers"}, outputs={f"/out/{name}": f"flow/{name}"},
        )
        for name, formula in (("squares", "$1 * $1"), ("cubes", "$1 * $1 * $1"))
    ]  # fmt: skip
    assert finish(client, *[client.create_task(t) for t in transforms]) == ["COMPLETE"] * 2
    merge = task(
        "merge",
        "for f in squares cubes; do sort /in/$f > /tmp/$f; done; "
        "join /tmp/squares /tmp/cubes | sort -n > /out/table && wc -l < /out/table",
        inputs={"/in/squares": "flow/squares", "/in/cubes": "flow/cubes"},
        outputs={"/out/table": "flow/table"},
    )
    merged = client.create_task(merge)
    assert finish(client, merged) == ["COMPLETE"]

    network.store.get("flow/table", tmp_path / "table")
    expected = "".join(f"{n} {n**2} {n**3}\n" for n in NUMBERS)
    assert (tmp_path / "table").read_text() == expected
    [log] = client.get_task(merged, view="FULL").logs
    assert log.logs[0].stdout.strip() == str(len(NUMBERS))
    [output] = log.outputs
    assert (output.url, output.path) == (url("flow/table"), "/out/table")
    assert int(output.size_bytes) == len(expected)


def test_each_view_shows_what_it_should(client: Any) -> None:
    import tes

    seen = task("views", "cat /in/word; echo aside >&2", tags={"crop": "maize"})
    seen.inputs = [tes.Input(path="/in/word", content="choclo")]
    id = client.create_task(seen)
    assert finish(client, id) == ["COMPLETE"]
    minimal, basic, full = (client.get_task(id, view=v) for v in ("MINIMAL", "BASIC", "FULL"))
    assert (minimal.id, minimal.state) == (id, "COMPLETE")
    assert (minimal.name, minimal.executors, minimal.logs) == (None, None, None)
    assert (basic.name, basic.tags) == ("views", {"crop": "maize"})
    assert basic.inputs[0].content is None
    [tried] = basic.logs
    assert [(log.exit_code, log.stdout) for log in tried.logs] == [(0, None)]
    assert tried.system_logs is None
    assert full.inputs[0].content == "choclo"
    [tried] = full.logs
    assert [(log.stdout, log.stderr) for log in tried.logs] == [("choclo", "aside\n")]
    assert tried.start_time <= tried.logs[0].start_time <= tried.logs[0].end_time <= tried.end_time
    assert full.creation_time <= tried.start_time


def test_a_failing_step_is_an_executor_error_with_its_code_and_words(client: Any) -> None:
    id = client.create_task(task("fail", "echo no maize >&2; exit 7"))
    assert finish(client, id) == ["EXECUTOR_ERROR"]
    [tried] = client.get_task(id, view="FULL").logs
    assert [(log.exit_code, log.stderr) for log in tried.logs] == [(7, "no maize\n")]


def test_a_canceled_task_is_ended_with_its_processes(client: Any) -> None:
    id = client.create_task(task("cancel", "sleep 1234.5"))
    until(lambda: client.get_task(id, view="MINIMAL").state == "RUNNING")
    until(lambda: sleeping("1234.5"))
    client.cancel_task(id)
    assert client.wait(id, timeout=LIMIT).state == "CANCELED"
    until(lambda: not sleeping("1234.5"))
    client.cancel_task(id)  # again: nothing is wrong with that
    assert client.get_task(id).state == "CANCELED"


def test_listing_goes_through_all_pages_once(client: Any) -> None:
    made = {client.create_task(task(f"page-{n}", "true")) for n in range(7)}
    finish(client, *made)
    seen: list[str] = []
    token = None
    while True:
        page = client.list_tasks(view="BASIC", page_size=3, page_token=token)
        assert 0 < len(page.tasks) <= 3
        seen += [t.id for t in page.tasks if t.name.startswith("page-")]
        if not (token := page.next_page_token):
            break
    assert sorted(seen) == sorted(made)


def test_listing_keeps_to_its_filters(client: Any, stage: Stage) -> None:
    ids = {
        "well": client.create_task(
            task("filter-well", "true", tags={"lot": "1", "field": "north"})
        ),
        "ill": client.create_task(task("filter-ill", "false", tags={"lot": "2", "field": "north"})),
        "other": client.create_task(task("unfiltered", "true", tags={"lot": "1"})),
    }
    finish(client, *ids.values())

    def found(**filters: Any) -> set[str]:
        # py-tes has no arguments for these; its users ask beside it
        answer = httpx.get(
            f"{stage.url}/ga4gh/tes/v1/tasks",
            params={"name_prefix": "filter-", **filters},
            headers={"Authorization": f"Bearer {client.token}"},
            trust_env=False,
        )
        return {t["id"] for t in answer.raise_for_status().json()["tasks"]}

    assert found() == {ids["well"], ids["ill"]}
    assert found(state="EXECUTOR_ERROR") == {ids["ill"]}
    assert found(tag_key="lot", tag_value="1") == {ids["well"]}
    assert found(tag_key="field") == {ids["well"], ids["ill"]}
    assert found(tag_key=["lot", "field"], tag_value=["2", "north"]) == {ids["ill"]}
    assert found(tag_key="lot", tag_value="1", name_prefix="un") == {ids["other"]}
    assert found(tag_key="lot", tag_value="3") == set()


def test_the_service_says_what_it_is(client: Any) -> None:
    info = client.get_service_info()
    assert info.id and info.name
    assert (info.type["group"], info.type["artifact"], info.type["version"][:2]) == (
        "org.ga4gh", "tes", "1.",
    )  # fmt: skip
    assert "ayni" in " ".join(info.storage)


def test_what_is_wrong_with_a_task_is_told_and_nothing_is_made(client: Any, stage: Stage) -> None:
    import requests

    import tes

    before = len(client.list_tasks(page_size=2000).tasks)
    bad = task("strict", "true")
    bad.resources = tes.Resources(
        backend_parameters={"priority": "high"}, backend_parameters_strict=True
    )
    with pytest.raises(requests.HTTPError) as refused:
        client.create_task(bad)
    assert refused.value.response.status_code == 400
    assert "priority" in refused.value.response.text
    stranger = tes.HTTPClient(stage.url, token="ayni_" + "x" * 43)
    with pytest.raises(requests.HTTPError) as refused:
        stranger.create_task(task("stranger", "true"))
    assert refused.value.response.status_code == 401
    with pytest.raises(requests.HTTPError) as refused:
        client.get_task("zzzzzzzz")
    assert refused.value.response.status_code == 404
    assert len(client.list_tasks(page_size=2000).tasks) == before


def test_a_token_works_as_the_password_of_basic_authentication(client: Any, stage: Stage) -> None:
    import tes

    basic = tes.HTTPClient(stage.url, user="ana", password=client.token)
    assert basic.list_tasks(page_size=1).tasks


def sleeping(seconds: str) -> bool:
    """Whether such a `sleep` runs anywhere here."""
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if entry.read_bytes() == f"sleep\0{seconds}\0".encode():
                return True
        except OSError:  # it ended meanwhile
            continue
    return False


def until(probe: Any) -> None:
    end = time.monotonic() + LIMIT
    while not probe():
        assert time.monotonic() < end
        time.sleep(0.1)
