"""`ayni site` as an operator types it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from typer.testing import CliRunner

from ayni.agent import now
from ayni.agent.charters import Charters
from ayni.agent.journal import Entry, Journal
from ayni.agent.sections import VolumesSection
from ayni.agent.unit import unit
from ayni.agent.volumes import Volumes
from ayni.cli.frame import build
from ayni.errors import UserError
from ayni.protocol.attempts import AttemptState
from ayni.protocol.charters import CharterQuestion
from ayni.protocol.messages import Report
from ayni.protocol.policy import Reason
from ayni.protocol.release import Release, Rule
from ayni.tes.volumes import Mount
from tests.agent.assignments import assignment, entry

ROOT = Path(__file__).parents[2]


def test_the_documented_unit_is_the_one_that_is_printed() -> None:
    documented = (ROOT / "docs/operators/ayni-site.service").read_text()
    assert documented == unit("/opt/ayni/bin/ayni", "/etc/ayni/agent.toml")


def test_the_unit_lets_tasks_outlive_the_agent_and_does_not_restart_the_hopeless() -> None:
    done = CliRunner().invoke(build(), ["site", "unit", "--user", "batch"])
    assert done.exit_code == 0
    for line in ("KillMode=process", "Delegate=yes", "User=batch", "RestartPreventExitStatus=2 3"):
        assert line in done.output.splitlines()


def test_status_before_the_first_run_says_so(tmp_path: Path) -> None:
    (tmp_path / "agent.toml").write_text('hub = "http://hub"\nstate = "state"')
    options = ["site", "status", "--config", str(tmp_path / "agent.toml")]
    done = CliRunner().invoke(build(), options)
    assert isinstance(done.exception, UserError)
    assert "ever run" in str(done.exception)


def test_status_shows_the_human_behind_every_task(tmp_path: Path) -> None:
    (tmp_path / "agent.toml").write_text('hub = "http://hub"\nstate = "state"')
    journal = Journal(tmp_path / "state")
    journal.commit([entry("a1", AttemptState.RUNNING), entry("b1", AttemptState.COMPLETE)])
    journal.close()
    options = ["site", "status", "--config", str(tmp_path / "agent.toml")]
    shown = CliRunner().invoke(build(), [*options, "--ended", "3"], env={"COLUMNS": "200"}).output
    for words in ("gabriela@example.cl", "Universidad de Chile (CL)", "poesia", "does NOT run"):
        assert words in shown
    assert "b1  complete" in shown
    found = json.loads(CliRunner().invoke(build(), [*options, "--json"]).output)
    assert found["agent"]["running"] is False
    assert found["agent"]["unreported"] == 2
    assert [a["person"] for a in found["attempts"]] == ["Gabriela Mistral"]


def test_status_says_that_charters_wait_for_an_answer(tmp_path: Path) -> None:
    (tmp_path / "agent.toml").write_text('hub = "http://hub"\nstate = "state"')
    Journal(tmp_path / "state").close()
    options = ["site", "status", "--config", str(tmp_path / "agent.toml")]
    assert "charter" not in CliRunner().invoke(build(), options).output
    question = CharterQuestion(project="p", channels=["up"], person="a@x.mx", since=1, text="Carta")
    Charters(tmp_path / "state").bring([question])
    shown = CliRunner().invoke(build(), options).output
    assert "1 charter waits for your answer: ayni site charters" in shown
    assert json.loads(CliRunner().invoke(build(), [*options, "--json"]).output)["charters"] == 1


def test_status_shows_what_strangers_wrote_without_obeying_it(tmp_path: Path) -> None:
    (tmp_path / "agent.toml").write_text('hub = "http://hub"\nstate = "state"')
    journal = Journal(tmp_path / "state")
    named = assignment("a1", name="[red]x[/red]")
    reason = Reason(code="exit", message="[b]bad[/b]\x1b[2J")
    ended = AttemptState.EXECUTOR_ERROR
    journal.commit(
        [
            Entry(named, Report(attempt="a1", seq=0, state=AttemptState.RUNNING, accepted=1.0)),
            Entry(
                assignment("b1"),
                Report(attempt="b1", seq=0, state=ended, accepted=1.0, ended=2.0, reason=reason),
            ),
        ]
    )
    journal.close()
    options = ["site", "status", "--config", str(tmp_path / "agent.toml"), "--ended", "1"]
    shown = CliRunner().invoke(build(), options, env={"COLUMNS": "200"}).output
    assert "[red]x[/red]" in shown
    assert "[b]bad[/b] [2J" in shown
    assert "\x1b" not in shown


def test_the_agents_last_words_tell_a_living_agent_from_a_dead_one(tmp_path: Path) -> None:
    import os
    import time

    words = now.Now("andes", "http://hub", os.getpid(), time.time(), "unshare", trouble="deaf")
    now.write(tmp_path, words)
    assert now.read(tmp_path) == words
    assert words.running
    assert not now.Now("andes", "http://hub", os.getpid(), time.time() - 3600, "").running
    assert not now.Now("andes", "http://hub", 2**22 + 1, time.time(), "").running
    (tmp_path / now.FILE).write_text("{")
    assert now.read(tmp_path) is None


def test_an_operator_sees_and_deletes_what_projects_keep(tmp_path: Path) -> None:
    (tmp_path / "agent.toml").write_text('hub = "http://hub"\nstate = "state"')
    options = ["--config", str(tmp_path / "agent.toml")]
    assert "no project" in CliRunner().invoke(build(), ["site", "volume", "ls", *options]).output
    table = Volumes(tmp_path / "state" / "volumes", VolumesSection(), shutil.rmtree)
    rule = Rule(Release.NOTHING, 0, "censo")
    table.mount("a", "poesia", [Mount("state", "/state")], rule, ["censo"])
    table.release("a")
    shown = (
        CliRunner()
        .invoke(build(), ["site", "volume", "ls", *options], env={"COLUMNS": "200"})
        .output
    )
    for words in ("poesia", "state", "nothing (censo)"):
        assert words in shown
    found = CliRunner().invoke(build(), ["site", "volume", "ls", "--json", *options]).output
    assert json.loads(found)["volumes"][0]["dataset"] == "censo"
    wrong = CliRunner().invoke(build(), ["site", "volume", "rm", "poesia", "other", *options])
    assert isinstance(wrong.exception, UserError)
    CliRunner().invoke(build(), ["site", "volume", "rm", "poesia", "state", *options])
    table.sweep()
    assert table.offer().held == []
