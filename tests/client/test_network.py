"""The network from Python, against the real hub."""

from __future__ import annotations

from pathlib import Path

import pytest

from ayni.client import (
    Conflict,
    HubUnreachable,
    InvalidTask,
    Network,
    NotFound,
    TaskFailed,
    TokenRefused,
    WaitTimeout,
)
from ayni.client.handles import TaskHandle
from ayni.protocol.attempts import AttemptState
from ayni.protocol.messages import CommandReport
from ayni.protocol.policy import Reason
from ayni.tes.models import State, Task
from tests.client.conftest import World
from tests.hub import factories as make

FAILED = AttemptState.EXECUTOR_ERROR


def test_a_task_is_sent_and_runs_and_its_files_come_back(
    world: World, network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data").mkdir()
    Path("data/names.txt").write_text("b\na\n")
    task = network.submit(
        "sort data/names.txt > out/sorted.txt",
        inputs=["data/names.txt"],
        outputs=["out/"],
        name="sort them",
        mem="2G",
        tags={"study": "1"},
    )
    assert task.state is State.QUEUED
    agent = world.agent()
    world.finish(agent, task.id, files={"/work/out/sorted.txt": b"a\nb\n"}, log="done\n")
    [assigned] = agent.assigned.values()
    [given] = assigned.task["inputs"]
    assert given["path"] == "/work/data/names.txt"
    assert given["url"].startswith("ayni://langs/inputs/")
    assert assigned.shape["memory"] == 2 << 30
    assert task.wait().ok
    assert task.check().name == "sort them"
    assert task.logs() == "done\n"
    assert [Path(p).read_text() for p in task.fetch("here")] == ["a\nb\n"]
    assert Path("here/out/sorted.txt").exists()
    assert [t.id for t in network.tasks(tag=("study", ""))] == [task.id]


def test_the_same_input_is_sent_once_however_often_it_is_used(
    world: World, network: Network, tmp_path: Path
) -> None:
    source = tmp_path / "a.csv"
    source.write_text("1")
    network.submit("true", inputs=[source])
    before = len(world.wire.requests)
    network.submit("false", inputs=[source])
    assert not [r for r in world.wire.requests[before:] if r.method == "PUT"]
    assert len(list(network.store.ls("inputs/"))) == 1


def test_a_create_of_which_the_answer_was_lost_is_not_doubled(
    world: World, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    import httpx

    real, lost = world.wire.handle_request, []

    def lose_first(request: httpx.Request) -> httpx.Response:
        answer = real(request)
        if request.method == "POST" and not lost:
            lost.append(request)
            raise httpx.ReadTimeout("lost")
        return answer

    monkeypatch.setattr(world.wire, "handle_request", lose_first)
    task = network.submit("true")
    assert lost
    assert [t.id for t in network.tasks()] == [task.id]


def test_an_array_is_sent_watched_and_run_again_where_it_failed(
    world: World, network: Network
) -> None:
    rows = [{"city": "Lima"}, {"city": "Quito"}, {"city": "La Paz"}]
    array = network.map(["plot", "{{city}}"], rows, outputs=["{{city}}.txt"])
    assert (len(array), array.counts) == (3, {"QUEUED": 3})
    tasks = list(array.tasks())
    assert [t.info.index for t in tasks] == [0, 1, 2]
    agent = world.agent()
    world.finish(agent, tasks[0].id, files={"/work/Lima.txt": b"lima"})
    codes = [CommandReport(exit_code=3, started=1.0, ended=2.0)]
    world.finish(agent, tasks[1].id, state=FAILED, commands=codes)
    world.finish(agent, tasks[2].id, files={"/work/La Paz.txt": b"paz"})
    assert not array.wait().ok
    with pytest.raises(TaskFailed, match="1 EXECUTOR_ERROR"):
        array.check()
    again = array.rerun()
    assert (len(again), again.info.rerun_of) == (1, array.id)
    [task] = again.tasks()
    assert task.document().executors[0].command == ["plot", "Quito"]
    with pytest.raises(Conflict):
        again.rerun()  # nothing of it has failed


def test_an_arrays_files_come_each_to_its_index(
    world: World, network: Network, tmp_path: Path
) -> None:
    array = network.map("echo {{index}} > r.txt", 2, outputs=["r.txt"])
    agent = world.agent()
    for number, task in enumerate(array.tasks()):
        world.finish(agent, task.id, files={"/work/r.txt": str(number).encode()})
    found = array.fetch(tmp_path / "got")
    assert {p.relative_to(tmp_path / "got").as_posix(): p.read_text() for p in found} == {
        "0/r.txt": "0",
        "1/r.txt": "1",
    }


def test_local_inputs_may_be_named_by_parameters(
    world: World, network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for city in ("lima", "quito"):
        Path(f"{city}.csv").write_text(city)
    rows = [{"city": "lima"}, {"city": "quito"}]
    array = network.map(["cat", "{{city}}.csv"], rows, inputs=["{{city}}.csv"])
    inputs = [(t.document().inputs or [])[0] for t in array.tasks()]
    assert [i.path for i in inputs] == ["/work/lima.csv", "/work/quito.csv"]
    there = {f"ayni://langs/{f.path}" for f in network.store.ls("inputs/")}
    assert {i.url for i in inputs} == there
    with pytest.raises(InvalidTask, match="no such file"):
        network.map("true", [{"city": "bogota"}], inputs=["{{city}}.csv"])


def test_a_task_waits_for_another_and_says_so(network: Network) -> None:
    first = network.submit("true")
    second = network.submit("true", after=first)
    third = network.submit("true", after=[(second, "ended"), f"{first.id}:ok"])
    assert {one["id"] for one in third.refresh().info.after} == {first.id, second.id}
    assert second.why().after


def test_why_has_a_line_for_every_site(world: World, network: Network) -> None:
    world.agent("chile")
    make.site(name="mexico")
    task = network.submit("true", cores=1000)
    why = task.why()
    assert {one.site for one in why.sites} == {"chile", "mexico"}
    chances = network.can_run("true", cores=1)
    assert chances.chosen == "chile"
    assert not list(network.store.ls())


def test_waiting_ends_at_its_limit_while_the_task_goes_on(network: Network) -> None:
    task = network.submit("true")
    with pytest.raises(WaitTimeout, match="goes on"):
        task.wait(timeout=0)
    assert task.state is State.QUEUED


def test_every_change_is_told_while_waiting(world: World, network: Network) -> None:
    task = network.submit("true")
    told: list[str] = []
    agent = world.agent()

    def hear(handle: object) -> None:
        told.append(task.info.state.value)
        if len(told) == 1:
            world.finish(agent, task.id)

    task.wait(progress=hear)
    assert (told[0], told[-1]) == ("QUEUED", "COMPLETE")


def test_a_cancelled_task_is_final_and_can_be_run_again(network: Network) -> None:
    task = network.submit("true", cores=2)
    with pytest.raises(Conflict, match="has not ended"):
        task.rerun()
    assert task.cancel().state is State.CANCELED
    again = task.rerun()
    assert again.id != task.id
    assert again.document() == task.document()


def test_a_tes_task_is_sent_as_it_is(network: Network) -> None:
    document = {"executors": [{"image": "alpine", "command": ["id"]}], "name": "mine"}
    for task in (document, Task.model_validate(document)):
        handle = network.submit(task, cores=3)
        assert handle.document().executors[0].image == "alpine"
        assert (handle.info.shape or {})["cores"] == 3


def test_listings_page_as_far_as_they_are_read(
    world: World, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ayni.client.network.PAGE", 2)
    ids = [network.submit("true", name=f"n{number}").id for number in range(5)]
    assert [t.id for t in network.tasks()] == ids[::-1]
    assert [t.id for t in network.tasks(limit=3)] == ids[:1:-1]
    before = len(world.wire.requests)
    next(network.tasks())
    assert len(world.wire.requests) == before + 1
    assert [t.name for t in network.tasks(name="n3", state="QUEUED")] == ["n3"]
    with pytest.raises(InvalidTask, match="none of QUEUED"):
        next(network.tasks(state="SLEEPING"))


def test_nothing_of_another_project_is_found(world: World, network: Network) -> None:
    task = network.submit("true")
    with world.network(make.token()) as other:
        with pytest.raises(NotFound, match="no task or array"):
            other.find(task.id)
        assert list(other.tasks()) == []


@pytest.mark.parametrize("id_", ["", "../me", "0" * 12, "u" * 13, "x" * 14])
def test_what_can_be_no_id_is_not_sent(network: Network, id_: str) -> None:
    with pytest.raises(InvalidTask, match="no id"):
        network.task(id_)


def test_a_revoked_token_says_how_to_get_in(world: World, network: Network) -> None:
    make.revoke(world.secret)
    with pytest.raises(TokenRefused, match="ayni login"):
        network.submit("true")


def test_nothing_is_sent_where_the_task_is_not_well_formed(world: World, network: Network) -> None:
    before = len(world.wire.requests)
    for wishes in ({"mem": "much"}, {"time": "soon"}, {"env": {"1": "x"}}, {"notify": "nobody"}):
        with pytest.raises(InvalidTask):
            network.submit("true", **wishes)  # type: ignore[arg-type]
    assert len(world.wire.requests) == before


def test_a_failed_tasks_reason_is_in_its_summary(world: World, network: Network) -> None:
    task = network.submit("true")
    reason = Reason(code="exit", message="exited with 3")
    world.finish(world.agent(), task.id, state=FAILED, reason=reason)
    task.wait()
    assert "exited with 3" in repr(task)
    assert "EXECUTOR_ERROR at chile" in repr(task)


def test_things_look_like_something_in_a_notebook(world: World, network: Network) -> None:
    world.agent()
    task = network.submit("true", name="<script>alert(1)</script>")
    array = network.map("true", 3, name="many")
    pages = [
        task._repr_html_(), array._repr_html_(), network.sites()._repr_html_(),
        network._repr_html_(),
    ]  # fmt: skip
    assert "<script>" not in "".join(pages)
    assert "&lt;script&gt;" in pages[0]
    assert "3" in pages[1]
    assert "QUEUED" in pages[1]
    assert "chile" in pages[2]
    assert "langs" in pages[3]
    assert repr(network) == "<Network http://hub.test>"
    assert repr(array) == f"<array {array.id}: 3 tasks: 3 QUEUED>"


def test_every_answer_is_a_table_in_a_notebook(world: World, network: Network) -> None:
    world.agent("chile")
    make.site(name="mexico")
    make.dataset(make.site(name="bogota"), name="censo", title="<b>Censo</b>", release="nothing")
    why = network.submit("true").why()._repr_html_()
    assert "<th" in why and "chile" in why and "has not said yet what it offers" in why
    chances = network.can_run("true")._repr_html_()
    assert "chosen" in chances and "mexico" in chances
    held = network.datasets()._repr_html_()
    assert "ayni://bogota/censo" in held and "nothing" in held
    assert "&lt;b&gt;Censo" in held and "<b>" not in held
    for found in (network.me, network.sites()[0], network.datasets()[0]):
        assert found._repr_html_().startswith("<table")
    [one] = network.datasets()
    assert "&lt;b&gt;Censo" in one._repr_html_() and "<b>" not in one._repr_html_()


def test_a_handle_made_by_hand_asks_when_it_must(world: World, network: Network) -> None:
    before = len(world.wire.requests)
    task = TaskHandle(network, network.submit("true").id)
    assert not task.final
    assert task.info.state is State.QUEUED
    assert len(world.wire.requests) > before


def test_a_project_folder_becomes_a_dataset(network: Network, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    network.store.put(tmp_path / "a.txt", "texts/")
    made = network.add_dataset("texts", "texts", version="1", licence="CC0-1.0")
    assert (made.files, made.size, made.project) == (1, 1, "langs")
    assert [one.name for one in network.datasets()] == ["texts"]


def test_a_hub_that_is_gone_is_unreachable() -> None:
    with Network("http://127.0.0.1:9", "ayni_x") as network, pytest.raises(HubUnreachable):
        network.connection.get("/me", patience=0)
