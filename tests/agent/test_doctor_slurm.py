"""`ayni site doctor` at a site with Slurm. Programs of our own say what three real clusters said."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ayni.agent.config import Config, load
from ayni.agent.doctor import Check, Level
from ayni.agent.doctor import slurm as checks
from ayni.agent.localusers import LocalUser
from ayni.agent.supervisor.helper import VERSION
from ayni.agent.userhelper import Helper, HelperError, Stage
from tests.agent.executors.slurm import answers

NAMES = ("sbatch", "squeue", "sacct", "scancel", "scontrol", "sacctmgr", "srun")
ASSOCIATIONS = "ayni|ayni||normal,short|normal|\nayni|fisica||normal|normal|\n"


class Commands:
    """Slurm's commands: what each says, by words that are among its arguments."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        for name in NAMES:
            self.say(name)
        self.say(
            "scontrol",
            {
                "--version": answers.text("version"),
                "config": config_at(time.time()),
                "partition": answers.text("scontrol-show-partitions-santiago"),
            },
        )
        self.say("sacctmgr", {"assoc": ASSOCIATIONS})

    def say(self, name: str, words: dict[str, str] | None = None, errors: str = "") -> None:
        cases = "".join(
            f"*{word}*) printf %s {shlex.quote(said)};;\n" for word, said in (words or {}).items()
        )
        path = self.folder / name
        failing = f"printf %s {shlex.quote(errors)} >&2; exit 1\n" if errors else ""
        path.write_text(f'#!/bin/sh\n{failing}case "$*" in\n{cases}*) ;;\nesac\n')
        path.chmod(0o755)


def config_at(moment: float) -> str:
    _, _, rest = answers.text("scontrol-show-config-santiago").partition("\n")
    rest = rest.replace("auth/munge", "auth/none")  # this machine's own is not asked
    return f"Configuration data as of {moment:.0f}\n{rest}"


@pytest.fixture
def slurm(tmp_path: Path) -> Commands:
    return Commands(tmp_path / "bin")


Make = Callable[..., Config]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    (tmp_path / "scratch").mkdir()
    (tmp_path / "state").mkdir()

    def write(extra: str = "") -> Config:
        path = tmp_path / "agent.toml"
        path.write_text(
            'hub = "http://hub"\nstate = "state"\n[executor]\nkind = "slurm"\n'
            f'[executor.slurm]\nshared = "scratch"\nbin = "bin"\n{extra}'
        )
        return load(path)

    return write


def found(checker: Callable[[Config], Iterator[Check]], config: Config) -> dict[str, Check]:
    seen = list(checker(config))
    for check in seen:
        assert check.message
        assert check.level is Level.OK or check.remedy, f"{check} names no remedy"
    return {check.name: check for check in seen}


def levels(checker: Callable[[Config], Iterator[Check]], config: Config) -> dict[str, Level]:
    return {name: check.level for name, check in found(checker, config).items()}


def test_a_cluster_in_order_passes(make: Make, slurm: Commands) -> None:
    config = make('partitions = ["main"]\naccount = "ayni"\nqos = "short"')
    assert found(checks.commands, config)["commands"].message == "slurm-wlm 22.05.8"
    for checker in (checks.controller, checks.accounting):
        assert set(levels(checker, config).values()) == {Level.OK}


def test_commands_that_are_not_there_are_named(make: Make, slurm: Commands) -> None:
    (slurm.folder / "sacct").unlink()
    check = found(checks.commands, make())["commands"]
    assert check.level is Level.FAIL
    assert check.message.startswith("sacct: not in")
    assert "executor.slurm.bin" in check.remedy


@pytest.mark.parametrize(
    ("said", "name"),
    [("squeue-slurmctld-down", "controller"), ("squeue-munge-down", "munge")],
)
def test_a_server_that_does_not_answer_is_named(
    make: Make, slurm: Commands, said: str, name: str
) -> None:
    slurm.say("scontrol", errors=answers.text(said))
    check = found(checks.controller, make())[name]
    assert check.level is Level.FAIL
    assert "start it" in check.remedy


def test_commands_without_a_configuration_say_where_to_name_it(make: Make, slurm: Commands) -> None:
    said = "scontrol: fatal: Could not establish a configuration source"
    slurm.say("scontrol", errors=said)
    assert "executor.slurm.conf" in found(checks.controller, make())["executor"].remedy


def test_an_accounting_that_does_not_answer_warns(make: Make, slurm: Commands) -> None:
    slurm.say("sacctmgr", errors=answers.text("sacctmgr-slurmdbd-down"))
    [check] = found(checks.accounting, make()).values()
    assert (check.name, check.level) == ("accounting", Level.WARN)


def test_partitions_that_the_cluster_has_not_are_named(make: Make, slurm: Commands) -> None:
    check = found(checks.controller, make('partitions = ["main", "debug"]'))["partitions"]
    assert check.level is Level.FAIL
    assert check.message == "debug: not in the cluster, which has main, large, spare"


def test_a_partition_that_is_down_warns(make: Make, slurm: Commands) -> None:
    text = answers.text("scontrol-show-partitions-santiago").replace("State=UP", "State=DOWN", 1)
    slurm.say("scontrol", {"config": config_at(time.time()), "partition": text})
    assert levels(checks.controller, make())["partitions"] is Level.WARN


@pytest.mark.parametrize(
    ("extra", "name", "level"),
    [
        ('account = "nadie"', "account", Level.FAIL),
        ('account = "fisica"\nqos = "short"', "qos", Level.FAIL),
        ('account = "ayni"\nqos = "short"', "account", Level.OK),
        ('qos = "short"', "account", Level.OK),
        ("", "account", Level.OK),
        ('account = "ayni"\n[executor.slurm.projects.maize]\nqos = "nada"', "qos", Level.FAIL),
    ],
)
def test_accounts_and_qos_are_those_that_the_agent_s_user_may_use(
    make: Make, slurm: Commands, extra: str, name: str, level: Level
) -> None:
    assert levels(checks.accounting, make(extra))[name] is level


def test_where_nothing_is_enforced_an_account_that_is_not_there_only_warns(
    make: Make, slurm: Commands
) -> None:
    text = config_at(time.time()).replace("associations,limits,qos", "none")
    slurm.say("scontrol", {"config": text})
    slurm.say("sacctmgr")
    assert levels(checks.accounting, make())["account"] is Level.WARN


@pytest.mark.parametrize(("off", "level"), [(0, Level.OK), (-300, Level.WARN), (300, Level.WARN)])
def test_a_clock_that_is_not_the_controller_s_warns(
    make: Make, slurm: Commands, off: int, level: Level
) -> None:
    slurm.say("scontrol", {"config": config_at(time.time() + off)})
    assert levels(checks.controller, make())["slurm clock"] is level


def test_a_shared_folder_on_a_local_disk_warns_and_says_how_it_knows(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "file_system", lambda folder: "xfs")
    check = found(checks.shared, make())["shared"]
    assert check.level is Level.WARN
    assert "xfs, by /proc/mounts" in check.message
    monkeypatch.setattr(checks, "file_system", lambda folder: "lustre")
    assert levels(checks.shared, make())["shared"] is Level.OK


def test_a_shared_folder_that_is_not_there_fails(make: Make, tmp_path: Path) -> None:
    config = make()
    (tmp_path / "scratch").rmdir()
    check = found(checks.shared, config)["shared"]
    assert check.level is Level.FAIL
    assert "mounted" in check.remedy


@pytest.mark.parametrize(
    ("says", "level"), [("3 12", Level.OK), ("3 9", Level.FAIL), ("?", Level.WARN)]
)
def test_the_interpreter_of_the_nodes_is_tried(
    make: Make,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    says: str,
    level: Level,
) -> None:
    monkeypatch.setattr(checks, "file_system", lambda folder: "nfs4")
    (tmp_path / "python").write_text(f"#!/bin/sh\necho '{says}'\n")
    (tmp_path / "python").chmod(0o755)
    check = found(checks.python, make(f'python = "{tmp_path}/python"'))["python"]
    assert check.level is level


def test_an_agent_on_a_local_disk_warns_that_nodes_may_not_see_it(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "file_system", lambda folder: "ext4")
    told = [check for check in checks.python(make()) if check.level is Level.WARN]
    assert [check.message.rpartition(" is on ")[2] for check in told] == [
        "ext4, a disk of this machine"
    ] * 2


# --- local users

MAPPED = (
    '[executor.slurm.projects.maize]\nuser = "ana"\naccount = "fisica"\nqos = "normal"\n'
    '[executor.slurm.projects.clima]\naccount = "nadie"\n'
)


@pytest.fixture
def says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, object]:
    """What the helper says of itself, started as ana by an agent that is no root."""
    monkeypatch.setattr(checks.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(
        checks.localusers, "find", lambda names: {name: LocalUser(name, 11, 201) for name in names}
    )
    said: dict[str, object] = {
        "user": "ana", "root": str(tmp_path / "scratch"), "enters": True, "version": VERSION,
    }  # fmt: skip

    def ask(helper: Helper, user: str, request: dict[str, object]) -> dict[str, object]:
        assert (user, request) == ("ana", {"verb": "check"})
        if "error" in said:
            raise HelperError(str(said["error"]))
        return said

    def stage(stage: Stage, request: dict[str, str]) -> int | None:
        assert request["attempt"] == "doctor"
        if "stages" in said:
            raise HelperError(str(said["stages"]))
        raise FileNotFoundError

    monkeypatch.setattr(Helper, "ask", ask)
    monkeypatch.setattr(Stage, "ask", stage)
    return said


def test_local_users_in_order_pass(
    make: Make, slurm: Commands, says: dict[str, object], tmp_path: Path
) -> None:
    (tmp_path / "scratch" / "executor").mkdir()
    check = found(checks.local_users, make(MAPPED))["local users"]
    assert (check.level, check.message) == (Level.OK, "the agent stages and submits as ana")
    assert list(checks.local_users(make())) == [], "a site without any has nothing to say"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"error": "sudo: a password is required"}, "a password is required"),
        ({"user": "luis"}, "works as luis"),
        ({"root": "/elsewhere"}, "in /elsewhere"),
        ({"enters": False}, "ana cannot enter"),
        ({"version": 1}, "is of version 1"),
        ({"stages": "it hung up"}, "files cannot be made as ana: it hung up"),
    ],
)
def test_a_helper_that_cannot_be_used_fails(
    make: Make, says: dict[str, object], slurm: Commands, tmp_path: Path, change: dict[str, object],
    words: str,
) -> None:  # fmt: skip
    (tmp_path / "scratch" / "executor").mkdir()
    says.update(change)
    check = found(checks.local_users, make(MAPPED))["local users"]
    assert check.level is Level.FAIL
    assert words in check.message


def test_a_local_user_that_is_not_there_fails(
    make: Make, monkeypatch: pytest.MonkeyPatch, slurm: Commands
) -> None:
    monkeypatch.setattr(checks.os, "geteuid", lambda: 1000)
    check = found(checks.local_users, make(MAPPED.replace("ana", "nobody-here")))["local users"]
    assert check.level is Level.FAIL
    assert "there is no user nobody-here" in check.message


def test_jobs_that_users_see_alone_warn(
    make: Make, slurm: Commands, says: dict[str, object]
) -> None:
    text = config_at(time.time()).replace(
        "PrivateData             = none", "PrivateData = jobs,usage"
    )
    slurm.say("scontrol", {"config": text})
    assert levels(checks.local_users, make(MAPPED))["local users"] is Level.WARN


def test_root_is_told_to_look_as_the_agent(
    make: Make, monkeypatch: pytest.MonkeyPatch, slurm: Commands
) -> None:
    monkeypatch.setattr(checks.os, "geteuid", lambda: 0)
    check = found(checks.local_users, make(MAPPED))["local users"]
    assert check.level is Level.WARN
    assert "ayni site doctor" in check.remedy


def test_accounts_are_those_that_the_local_users_may_use(make: Make, slurm: Commands) -> None:
    checked = list(checks.accounting(make('account = "nadie"\n' + MAPPED)))
    accounts = {check.message: check.level for check in checked if check.name == "account"}
    assert accounts == {"ana may use fisica, QOS normal": Level.OK}, "nobody submits to the others"
