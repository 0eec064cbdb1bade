"""Looking after tasks from the command line."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from ayni.client import Network, models
from ayni.client.commands import console
from ayni.client.models import LogPage
from ayni.hub.network import waits
from ayni.protocol.attempts import AttemptState
from ayni.protocol.messages import CommandReport, HealthNote, StartStatus, VolumesOffer
from ayni.protocol.policy import Policy, Reason
from tests.client.conftest import Run, World
from tests.hub import factories as make
from tests.hub.network import simulated

SMALL = {"executors": [{"image": "host", "command": ["true"]}]}
FAILED = AttemptState.EXECUTOR_ERROR
EXITED = Reason(code="exit", message="command 0 exited with 3")
CODES = [CommandReport(exit_code=3, started=1.0, ended=2.0)]


def test_sites_are_told_with_what_they_offer_and_how_they_are(cli: Run, world: World) -> None:
    ill = [HealthNote(code="disk", message="the disk is full", remedy="make room")]
    world.agent("chile", offers=simulated.status(simulated.partition(cores=64), health=ill))
    world.agent("bogota", offers=simulated.status(policy=Policy(projects=["minas-*"])))
    make.site(name="mexico")
    result = cli("sites")
    assert result.code == 0
    assert "chile" in result.out
    assert "ill" in result.out, "the broker passes it over"
    assert "healthy" in result.out
    assert "64" in result.out
    assert "never" in result.out
    assert "the disk is full (make room)" in result.err
    assert "bogota: does not take your project's tasks" in result.err
    assert "minas" not in result.out + result.err
    names = [site["name"] for site in cli("sites", "--json").json["sites"]]
    assert names == ["bogota", "chile", "mexico"]


def small_starting_in(seconds: float) -> StartStatus:
    return StartStatus(cores=1, memory=1, gpus=0, walltime=3600, at=time.time() + seconds)


def test_sites_for_a_task_are_told_in_the_order_in_which_it_would_start_there(
    cli: Run, world: World
) -> None:
    waits = simulated.partition(starts=[small_starting_in(7000.0)])
    world.agent("bogota", offers=simulated.status(waits))
    world.agent("chile")
    world.agent("lima", offers=simulated.status(policy=Policy(images=["other"])))
    Path("task.json").write_text(json.dumps(SMALL))
    result = cli("sites", "--for", "task.json")
    assert result.code == 0
    lines = [line.split() for line in result.out.splitlines()]
    assert [line[0] for line in lines] == ["SITE", "chile", "bogota", "lima"]
    assert "at once" in result.out.splitlines()[1]
    assert "there is room" in result.out.splitlines()[1]
    assert "in about 1 h 56 min" in result.out.splitlines()[2]
    assert "its scheduler" in result.out.splitlines()[2]
    assert "has no image host" in result.out.splitlines()[3]
    answer = cli("sites", "--for", "task.json", "--json").json
    assert [one["site"] for one in answer["sites"]] == ["chile", "bogota", "lima"]
    assert answer["sites"][2]["start_in"] is None
    assert answer["chosen"] == "chile"


def test_the_usual_error_is_told_beside_the_start_and_of_every_site(cli: Run, world: World) -> None:
    agent = world.agent("chile")
    began = waits.Began("main", "1-1-0-3600", "free", 1.0, 90.0)
    waits.learn(agent.site.pk, [began], timezone.now())
    result = cli("sites", "--for", "-", stdin=json.dumps(SMALL))
    assert "± 1 min 30 s" in result.out
    assert "± 1 min 30 s" in cli("sites").out
    assert cli("sites", "--json").json["sites"][0]["foresight"]["by"]["free"]["count"] == 1


def test_sites_for_a_task_that_nobody_takes_or_that_is_none(cli: Run, world: World) -> None:
    world.agent("chile")
    Path("large.json").write_text(json.dumps({**SMALL, "resources": {"cpu_cores": 5000}}))
    result = cli("sites", "--for", "large.json")
    assert result.code == 1
    assert "offers 4 cores a node" in result.out
    Path("bad.json").write_text(json.dumps({"executors": [{"image": "host"}]}))
    for option in (["sites", "--for"], ["submit", "--dry-run"]):
        refused = cli(*option, "bad.json")
        assert refused.code == 2
        assert "executors.0.command" in refused.err
        missing = cli(*option, "none.json")
        assert missing.code == 2
        assert "none.json: No such file or directory" in missing.err


def test_datasets_are_told_by_the_url_that_a_task_names(
    cli: Run, network: Network, tmp_path: Path
) -> None:
    assert "no datasets" in cli("datasets").err
    (tmp_path / "a").write_text("a")
    network.store.put(tmp_path / "a", "texts/")
    network.add_dataset("texts", "texts", version="1", licence="CC0-1.0")
    assert "ayni://langs/texts" in cli("datasets").out
    assert cli("datasets", "--json").json["datasets"][0]["licence"] == "CC0-1.0"


def test_ps_lists_and_filters(cli: Run, network: Network) -> None:
    assert "no tasks" in cli("ps").out
    fit = network.submit("true", name="fit-1", tags={"k": "v"})
    other = network.submit("true", name="plot")
    other.cancel()
    array = network.map("true", 2, name="many")
    out = cli("ps").out
    assert fit.id in out
    assert other.id in out
    for flags, ids in (
        (("--name", "fit"), [fit.id]),
        (("--state", "canceled"), [other.id]),
        (("--tag", "k=v"), [fit.id]),
        (("--tag", "k"), [fit.id]),
        (("--array", array.id), [t.id for t in array.tasks()]),
        (("-n", "1", "--name", "fit"), [fit.id]),
    ):
        found = cli("ps", "--json", *flags).json["tasks"]
        assert [task["id"] for task in found] == ids, flags
    assert array.id in cli("ps", "--arrays").out
    [row] = cli("ps", "--arrays", "--json").json["arrays"]
    assert (row["id"], row["counts"]) == (array.id, {"QUEUED": 2})


@pytest.mark.parametrize("columns", ["30", "50", "80", "200"])
def test_ids_stand_whole_however_narrow_the_terminal(
    cli: Run, network: Network, monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("FORCE_COLOR", "1")
    task = network.submit("true", name="a rather long name that has to be folded somewhere")
    out = cli("ps").out
    assert task.id in out
    assert "…" not in out


def test_names_cannot_play_with_the_terminal(cli: Run, network: Network) -> None:
    network.submit("true", name="[bold]x[/bold] \u202e")
    out = cli("ps").out
    assert "[bold]x[/bold]" in out
    assert "\u202e" not in out


def test_ps_watch_redraws_until_ctrl_c(
    cli: Run, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    first = network.submit("true")
    later: list[str] = []

    def sleep(seconds: float) -> None:
        if later:
            raise KeyboardInterrupt
        later.append(network.submit("true").id)

    monkeypatch.setattr("ayni.client.commands.listing.time.sleep", sleep)
    result = cli("ps", "--watch")
    assert result.code == 130
    assert first.id in result.out
    assert later[0] in result.out


def test_ps_says_when_there_is_more(cli: Run, network: Network) -> None:
    network.submit("true")
    network.submit("true")
    assert "-n shows more" in cli("ps", "-n", "1").err
    assert cli("ps", "-n", "3").err == ""


def test_show_tells_all_of_a_task(cli: Run, world: World, network: Network) -> None:
    task = network.submit(["sort", "a b"], name="n", outputs=["r.txt"], tags={"k": "v"}, mem="2G")
    agent = world.agent()
    world.finish(agent, task.id, files={"/work/r.txt": b"x"}, commands=CODES)
    out = cli("show", task.id).out
    for word in (task.id, "COMPLETE", "sort 'a b'", "2.0 GiB", "k=v", "chile", "/work/r.txt"):
        assert word in out
    answer = cli("show", task.id, "--json").json
    assert answer["kind"] == "task"
    assert answer["attempts"][0]["exit_codes"] == [3]
    assert answer["task"]["executors"][0]["command"] == ["sort", "a b"]


def test_show_tells_of_an_array_which_tasks_failed_and_why(
    cli: Run, world: World, network: Network
) -> None:
    array = network.map("true", 3, name="many")
    first, *_ = array.tasks()
    world.finish(world.agent(), first.id, state=FAILED, reason=EXITED)
    out = cli("show", array.id).out
    assert "1 of 3" in out
    assert first.id in out
    assert "exited with 3" in out
    answer = cli("show", array.id, "--json").json
    assert [task["id"] for task in answer["failed"]] == [first.id]


def test_why_has_a_line_for_every_site(cli: Run, world: World, network: Network) -> None:
    world.agent("chile")
    make.site(name="mexico")
    task = network.submit("true", cores=1000)
    lines = cli("why", task.id).out.splitlines()
    assert [line.split()[1] for line in lines[1:3]] == ["chile", "mexico"]
    answer = cli("why", task.id, "--json").json
    assert {site["site"]: site["verdict"] for site in answer["sites"]} == {
        "chile": "ineligible",
        "mexico": "ineligible",
    }


def test_logs_shows_what_was_printed(cli: Run, world: World, network: Network) -> None:
    task = network.submit("true")
    world.finish(world.agent(), task.id, log="uno\ndos\n")
    assert cli("logs", task.id).out == "uno\ndos\n"
    assert cli("logs", "-f", task.id).out == "uno\ndos\n"
    assert cli("logs", "--full", task.id).out == "uno\ndos\n"
    assert cli("logs", "--stderr", task.id).out == ""
    assert cli("logs", task.id, "--json").json["ended"] is True


@pytest.mark.parametrize("flags", [(), ("-f",), ("--full",)])
def test_a_log_plays_with_the_terminal_only_if_it_is_asked_to(
    cli: Run, world: World, network: Network, monkeypatch: pytest.MonkeyPatch, flags: tuple[str]
) -> None:
    task = network.submit("true")
    printed = "\x1b[31mred\x1b[0m\tñ\n"
    world.finish(world.agent(), task.id, log=printed)
    assert cli("logs", task.id, *flags).out == printed, "a program gets what was printed"
    monkeypatch.setattr(console, "on_terminal", lambda: True)
    assert cli("logs", task.id, *flags).out == "^[[31mred^[[0m\tñ\n"
    assert cli("logs", task.id, "--raw", *flags).out == printed


def test_the_whole_log_is_fetched_from_the_store(
    cli: Run, network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "log").write_bytes(b"\xff" + b"line\n" * 100_000)
    network.store.put(tmp_path / "log", "whole")
    page = LogPage(text="end", offset=500_000, size=500_003, ended=True, full="ayni://langs/whole")
    monkeypatch.setattr("ayni.client.tail.page", lambda *_, **__: page)
    task = network.submit("true")
    assert len(cli("logs", "--full", task.id).out) == 500_001
    result = cli("logs", task.id)
    assert result.out == "end"
    assert "500000 bytes are not shown; --full shows all" in result.err


def test_a_log_that_may_not_leave_its_site_says_so(
    cli: Run, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    reason = {"code": "release", "message": "nothing of dataset x may leave chile"}
    page = LogPage.model_validate({"ended": True, "withheld": reason})
    monkeypatch.setattr("ayni.client.tail.page", lambda *_, **__: page)
    task = network.submit("true")
    for command in (("logs",), ("logs", "-f"), ("logs", "--full")):
        result = cli(*command, task.id)
        assert (result.code, result.out) == (0, "")
        assert "stays at its site: nothing of dataset x may leave chile" in result.err
    assert task.logs() == "[nothing of dataset x may leave chile]"


def test_wait_ends_well_only_if_all_ended_well(cli: Run, world: World, network: Network) -> None:
    good, bad = network.submit("true"), network.submit("false")
    agent = world.agent()
    world.finish(agent, good.id)
    world.finish(agent, bad.id, state=FAILED, reason=EXITED)
    assert cli("wait", good.id).code == 0
    both = cli("wait", good.id, bad.id)
    assert both.code == 1
    assert "exited with 3" in both.out
    array = network.map("true", 1)
    world.finish(agent, next(iter(array.tasks())).id)
    told = cli("wait", array.id, "--json").json
    assert told["ok"] is True
    assert told["waited"][0]["counts"] == {"COMPLETE": 1}


def test_wait_gives_up_at_its_timeout_and_says_that_it_goes_on(cli: Run, network: Network) -> None:
    task = network.submit("true")
    result = cli("wait", task.id, "--timeout", "0s")
    assert result.code == 1
    assert "goes on" in result.err


def test_ctrl_c_says_that_the_task_goes_on(
    cli: Run, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    task = network.submit("true")
    monkeypatch.setattr("ayni.client.commands.following.wait_all", stop)
    monkeypatch.setattr("ayni.client.tail.follow", stop)
    for command in (("wait",), ("logs", "-f")):
        result = cli(*command, task.id)
        assert result.code == 130
        assert f"task {task.id} goes on" in result.err
        assert "Traceback" not in result.err


def test_cancel_ends_tasks_and_arrays(cli: Run, network: Network) -> None:
    task, array = network.submit("true"), network.map("true", 2)
    assert cli("cancel", task.id, array.id).code == 0
    assert task.state == "CANCELED"
    assert array.counts == {"CANCELED": 2}
    assert len(cli("cancel", task.id, "--json").json["canceled"]) == 1


def test_rerun_prints_the_new_id(cli: Run, network: Network) -> None:
    array = network.map("true", 2)
    assert cli("rerun", array.id).code == 2  # nothing has failed
    array.cancel()
    answer = cli("rerun", array.id, "--json").json
    assert (answer["kind"], answer["size"], answer["rerun_of"]) == ("array", 2, array.id)
    task = network.submit("true").cancel()
    assert network.task(cli("rerun", task.id).out.strip()).id != task.id


def test_fetch_brings_outputs_and_leaves_what_is_here(
    cli: Run, world: World, network: Network
) -> None:
    task = network.submit("true", outputs=["r/"])
    assert "has left no files" in cli("fetch", task.id).err
    files = {"/work/r/a.txt": b"a", "/work/r/deep/b.txt": b"b"}
    world.finish(world.agent(), task.id, files=files)
    out = cli("fetch", task.id).out.splitlines()
    assert sorted(out) == [f"{task.id}/r/a.txt", f"{task.id}/r/deep/b.txt"]
    answer = cli("fetch", task.id, "there", "--json").json
    assert [(f["path"], f["size"]) for f in answer["files"]] == [
        ("there/r/a.txt", 1),
        ("there/r/deep/b.txt", 1),
    ]
    before = len([r for r in world.wire.requests if r.url.host != "hub.test"])
    cli("fetch", task.id, "there")
    assert len([r for r in world.wire.requests if r.url.host != "hub.test"]) == before


NOBODY = "0000000000000"


@pytest.mark.parametrize(
    "arguments",
    [
        *[(command, bad) for command in ("show", "logs", "why", "wait", "cancel", "rerun", "fetch")
          for bad in (NOBODY, "nonsense", "../me", "")],
        ("ps", "--state", "SLEEPING"),
        ("ps", "--array", NOBODY),
        ("ps", "--array", "x"),
        ("ps", "--watch"),
        ("ps", "--watch", "--json"),
        ("ps", "--arrays", "--state", "QUEUED"),
        ("wait", NOBODY, "--timeout", "soon"),
        ("logs", "-f", "--full", NOBODY),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_and_exit_code_2(cli: Run, arguments: tuple[str, ...]) -> None:
    result = cli(*arguments)
    assert result.code == 2, result
    assert result.err.startswith("ayni: ")
    assert result.err.count("\n") == 1


@pytest.mark.parametrize("command", ["why", "logs"])
def test_who_asks_of_an_array_what_only_a_task_has_is_told_how_to_find_one(
    cli: Run, network: Network, command: str
) -> None:
    array = network.map("true", 2)
    result = cli(command, array.id)
    assert result.code == 2
    assert f"ayni ps --array {array.id}" in result.err


def test_volumes_are_listed_and_deleted(cli: Run, world: World) -> None:
    assert "no site keeps a volume" in cli("volumes").err
    site = make.site(name="chile")
    make.volume(world.project, site, name="state", size=3 << 20, release="nothing", dataset="censo")
    shown = cli("volumes").out
    for words in ("state", "chile", "3.0 MiB", "nothing (censo)"):
        assert words in shown
    assert cli("volumes", "--json").json["volumes"][0]["name"] == "state"
    assert cli("volumes", "rm", "chile", "state", "--json").json["removing"]["removing"]
    assert "being deleted" in cli("volumes").out
    gone = cli("volumes", "rm", "chile", "other")
    assert gone.code == 2 and "no volume 'other'" in gone.err


def test_a_chain_is_sent_and_shown_with_its_links(cli: Run, world: World) -> None:
    world.agent("chile", offers=simulated.status(volumes=VolumesOffer(quota=1, retention=1)))
    sent = cli(
        "submit", "--site", "chile", "--volume", "state:/state", "--chain", "7", "--", "true"
    )
    assert sent.code == 0, sent.err
    assert "link 1 of 7" in cli("show", sent.out.strip()).out
    refused = cli("submit", "--site", "chile", "--chain", "7", "--", "true")
    assert refused.code == 2 and "needs a volume" in refused.err


def test_every_key_of_the_json_is_documented() -> None:
    text = (Path(__file__).parents[2] / "docs" / "users" / "cli.md").read_text()
    told = (models.TaskInfo, models.ArrayInfo, models.Attempt, models.Site, models.Dataset, models.Volume,
            models.Why, models.SiteVerdict, models.PlacementInfo, models.LogPage, models.Output,
            models.StoredFile, models.Me, models.Person, models.Project, models.Chances)  # fmt: skip
    missing = {name for model in told for name in model.model_fields if f"`{name}`" not in text}
    assert missing == set()
