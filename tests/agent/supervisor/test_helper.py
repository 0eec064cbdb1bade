"""The helper that runs as a local user: what it does, and that it does nothing else."""

from __future__ import annotations

import io
import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ayni.agent.executors.slurm import script
from ayni.agent.executors.slurm.pools import Batch, Key
from ayni.agent.executors.slurm.script import Rules
from ayni.agent.supervisor import helper

KEY = Key("fisica: Ana <ana@x>", "", "main", 2, 1 << 30, 600, 10.0, 2, project="fisica")
BATCH = Batch(3, 3, 6, (3 << 30) + 1, 6, 1261, 2.0)
RULES = Rules("fisica", "normal", "campaign", constraint="[a*2&b*3]", options=("--nice=100",))


@pytest.fixture
def config(tmp_path: Path) -> dict[str, Any]:
    """A site whose sbatch and scancel write down what they are told."""
    for name in ("sbatch", "scancel"):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(
            f"#!{sys.executable} -S\nimport os, sys, json\n"
            "text = sys.stdin.read()\n"
            "print(json.dumps([sys.argv[1:], text, dict(os.environ), os.getcwd()]))\n"
        )
        program.chmod(0o755)
    return {
        "root": str(tmp_path / "shared"),
        "bin": str(tmp_path / "bin"),
        "conf": "/etc/slurm/x.conf",
        "options": ["nice"],
    }


def submission(config: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """What the agent really asks for."""
    log = f"{config['root']}/executor/{helper._user()}/logs/{KEY.name}.log"
    options = script.options("ayni-abc123-" + KEY.name, BATCH, KEY, RULES, log)
    text = script.text(f"{config['root']}/executor/x", KEY.name, BATCH, KEY, "/usr/bin/python3")
    return {"verb": "submit", "script": text, "options": options, **changes}


def ran(answer: dict[str, Any]) -> tuple[list[str], str, dict[str, str], str]:
    words, text, env, folder = json.loads(answer["stdout"])
    assert answer["code"] == 0
    return words, text, env, folder


def test_what_the_agent_submits_is_submitted_as_it_is(config: dict[str, Any]) -> None:
    asked = submission(config)
    words, text, env, folder = ran(helper.serve(asked, config))
    assert words == ["--parsable", *asked["options"]]
    assert text == asked["script"]
    assert folder == "/"
    env.pop("LC_CTYPE", None)  # Python's own
    assert env == {
        "PATH": f"{config['bin']}:/usr/bin:/bin",
        "LC_ALL": "C",
        "SLURM_TIME_FORMAT": "%s",
        "SLURM_CONF": "/etc/slurm/x.conf",
    }


def test_when_a_job_would_start_is_asked_and_nothing_is_submitted(config: dict[str, Any]) -> None:
    options = ["--job-name=ayni-foresight", "--output=/dev/null", "--time=3"]
    asked = submission(config, options=options, script="#!/bin/sh\nexec id\n", test=True)
    words, text, _, _ = ran(helper.serve(asked, config))
    assert words == ["--test-only", *options]
    assert text == "#!/bin/sh\n"


@pytest.mark.parametrize(
    "option",
    [
        "--uid=0",
        "--gid=0",
        "--wrap=id",
        "--prolog=/tmp/x",
        "--chdir=/tmp",
        "--export=NONE",
        "--export=ALL,LD_PRELOAD=/tmp/x",
        "--output=/etc/passwd",
        "--output={root}/executor/other/logs/0123456789ab.log",
        "--output={root}/executor/{user}/logs/../../../../etc/x.log",
        "--output={root}/executor/{user}/logs/0123456789ab.log\n",
        "--output={root}/executor/{user}/logs/%j23456789ab.log",
        "--open-mode",
        "--no-requeue=1",
        "--array=0-9%1",
        "--account=",
        "--account=a b",
        "--account=-a",
        "--partition=main --uid=0",
        "--time=1\n",
        "--comment=a\nb",
        "--nice=1 2",
        "--constraint=a\tb",
        "--get-user-env=1",
        "-J x",
        "x",
        "",
        "--",
        "--job-name",
        "--Job-name=ayni-abc123-0123456789ab",
        "--job-name=other",
        "--mem=0",
    ],
)
def test_an_option_that_is_not_the_agent_s_own_is_denied(
    config: dict[str, Any], option: str
) -> None:
    words = option.replace("{root}", config["root"]).replace("{user}", helper._user())
    with pytest.raises(helper.Denied, match="option"):
        helper.serve(submission(config, options=[words]), config)


@given(st.text(max_size=40), st.none() | st.text(max_size=40))
def test_no_word_but_an_option_passes(name: str, value: str | None) -> None:
    option = f"--{name}" if value is None else f"--{name}={value}"
    try:
        passed = helper._option(option, {"root": "/s", "options": []})
    except helper.Denied:
        return
    assert passed == option
    assert passed[2:].partition("=")[0] in helper._OPTIONS
    assert not any(c in passed for c in "\n\0")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "#!/bin/sh\n",
        "#!/bin/sh\nexec true",
        "#!/bin/sh\n#SBATCH --uid=0\nexec true\n",
        "#!/bin/bash\nexec true\n",
        "#!/bin/sh\nexec true\nexec false\n",
        "#!/bin/sh\nexec a\0b\n",
        7,
        None,
        ["#!/bin/sh\nexec true\n"],
    ],
)
def test_a_script_of_any_other_form_is_denied(config: dict[str, Any], text: Any) -> None:
    with pytest.raises(helper.Denied, match="script"):
        helper.serve(submission(config, script=text), config)


def test_jobs_are_canceled_by_their_numbers_alone(config: dict[str, Any]) -> None:
    asked = {"verb": "cancel", "jobs": ["12", "13_4"], "waiting": True}
    assert ran(helper.serve(asked, config))[0] == ["--quiet", "--state=PENDING", "12", "13_4"]
    asked = {"verb": "cancel", "jobs": ["12"], "waiting": "yes"}
    assert ran(helper.serve(asked, config))[0] == ["--quiet", "12"]


@pytest.mark.parametrize(
    "jobs", [[], ["--user=x"], ["-u"], ["12 13"], ["1\n"], "12", [12], ["1"] * 1001]
)
def test_other_words_than_numbers_cancel_nothing(config: dict[str, Any], jobs: Any) -> None:
    with pytest.raises(helper.Denied, match="jobs"):
        helper.serve({"verb": "cancel", "jobs": jobs}, config)


@pytest.mark.parametrize(
    "request_", [None, [], 1, "check", {}, {"verb": "run"}, {"verb": ["check"]}, {"verb": "_open"}]
)
def test_an_unknown_verb_is_denied(config: dict[str, Any], request_: Any) -> None:
    with pytest.raises(helper.Denied, match="verb must be one of"):
        helper.serve(request_, config)


# --- folders


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_what_a_task_left_is_opened_to_the_group_and_no_link_is_followed(
    config: dict[str, Any],
) -> None:
    work = Path(config["root"], "work", "t-1")
    (work / "a" / "b").mkdir(parents=True)
    (work / "a" / "b" / "file").touch(0o600)
    (work / "a" / "run").touch(0o700)
    outside = Path(config["root"], "outside")
    outside.touch(0o600)
    (work / "link").symlink_to(outside)
    (work / "folder").symlink_to(Path(config["root"]))
    (work / "a" / "b").chmod(0o1000)
    (work / "a").chmod(0o500)
    assert (
        helper.serve({"verb": "open", "folders": ["work/t-1", "work/gone"]}, config)["opened"] == 4
    )
    assert (mode(work / "a"), mode(work / "a" / "b")) == (0o770, 0o770)
    assert (mode(work / "a" / "b" / "file"), mode(work / "a" / "run")) == (0o660, 0o770)
    assert mode(outside) == 0o600


@pytest.mark.parametrize(
    "folder",
    [
        "work", "work/", "work/..", "work/../..", "/etc", "executor", "work/t-1/root", "work/.failed",
        "work/.trash", "work/.trash-x", "work/t-1\n", "", ".",
    ],
)  # fmt: skip
def test_only_the_agent_s_work_folders_are_opened(config: dict[str, Any], folder: str) -> None:
    with pytest.raises(helper.Denied, match="folders must be"):
        helper.serve({"verb": "open", "folders": [folder]}, config)


def test_a_work_folder_that_is_a_link_is_passed_over(config: dict[str, Any]) -> None:
    outside = Path(config["root"], "outside")
    (outside / "mine").mkdir(parents=True, mode=0o700)
    (outside / "mine" / "file").touch(0o600)
    Path(config["root"], "work").mkdir()
    Path(config["root"], "work", "t-1").symlink_to(outside)
    assert helper.serve({"verb": "open", "folders": ["work/t-1"]}, config) == {"opened": 0}
    assert mode(outside / "mine" / "file") == 0o600


def test_a_tree_of_any_depth_is_opened_as_far_as_it_is_safe(config: dict[str, Any]) -> None:
    deep = work = Path(config["root"], "work", "t-1")
    for _ in range(200):
        deep = deep / "d"
    deep.mkdir(parents=True, mode=0o700)
    assert 60 <= helper.open_up(str(work)) <= 70


# --- as a program


def program(tmp_path: Path) -> Path:
    found = tmp_path / "ayni-helper"
    found.write_text(Path(helper.__file__).read_text())
    found.chmod(0o755)
    return found


def ask(path: Path, text: str, *words: str) -> tuple[int, dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-I", str(path), *words],
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, json.loads(done.stdout)


def test_it_takes_no_arguments(tmp_path: Path) -> None:
    code, said = ask(program(tmp_path), '{"verb": "check"}', "--root=/")
    assert (code, said) == (2, {"error": "takes no arguments"})


@pytest.mark.skipif(os.geteuid() != 0, reason="only root is refused as root")
def test_it_does_nothing_as_root(tmp_path: Path) -> None:
    code, said = ask(program(tmp_path), '{"verb": "check"}')
    assert code == 2
    assert "as root" in said["error"]


def test_what_others_than_root_may_write_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = program(tmp_path)
    Path(f"{path}.json").write_text('{"root": "/scratch"}')
    Path(f"{path}.json").chmod(0o666)
    with pytest.raises(helper.Denied, match="must be root's, and nobody else's to write"):
        helper._config(str(path))


def test_a_site_that_root_has_not_set_up_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(helper.Denied, match="cannot be read: No such file"):
        helper._config(str(program(tmp_path)))


def test_no_word_of_the_asker_s_breaks_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    monkeypatch.setattr(helper.syslog, "syslog", lambda level, text: lines.append(text))
    monkeypatch.setenv("SUDO_USER", "ayni")
    helper._log(0, "a\0b\nroot as 0: c\ud800")
    assert lines == [f"ayni as {os.geteuid()}: a?b?root as 0: c?"]


def test_what_no_command_line_can_hold_is_denied(config: dict[str, Any]) -> None:
    with pytest.raises(helper.Denied, match="cannot be run"):
        helper.serve(submission(config, options=["--comment=\ud800"]), config)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, '"' + "x" * (1 << 20) + '"', "\xff"])
def test_nonsense_and_too_much_of_it_are_denied(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode("latin-1"))))
    with pytest.raises(helper.Denied, match="the request is"):
        helper._request()
