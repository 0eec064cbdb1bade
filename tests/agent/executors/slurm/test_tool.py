"""Slurm's commands: what they are asked, and what is made of their answers. Programs of our own stand in."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from ayni.agent.executors.base import ExecutorUnavailable
from ayni.agent.executors.slurm import health
from ayni.agent.executors.slurm.ends import refusal
from ayni.agent.executors.slurm.tool import Full, Refused, Slurm
from tests.agent.executors.slurm import answers

Program = Callable[..., Slurm]
PASSING = {
    "sbatch-munge-down",
    "sbatch-slurmctld-down",
}
REFUSED = (
    {
        path.stem
        for path in answers.RECORDED.glob("sbatch-*.txt")
        if not path.read_text().startswith("Submitted")
    }
    - PASSING
    - {"sbatch-qos-too-many"}
)


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """A program of one name that says something, and notes what it was asked."""

    def make(name: str, says: str = "", errors: str = "", code: int = 0) -> Slurm:
        path = tmp_path / name
        path.write_text(
            f'#!/bin/sh\necho $0 "$@" >>{tmp_path}/asked\nenv >{tmp_path}/env\ncat >{tmp_path}/stdin\n'
            f"printf %s {shlex.quote(says)}\nprintf %s {shlex.quote(errors)} >&2\nexit {code}\n"
        )
        path.chmod(0o755)
        return Slurm(tmp_path / "slurm.conf", tmp_path)

    return make


def asked(folder: Path) -> list[list[str]]:
    return [line.split()[1:] for line in (folder / "asked").read_text().splitlines()]


def test_a_submission_is_a_script_on_standard_input(program, tmp_path):
    slurm = program("sbatch", "1000042;santiago\n")
    assert slurm.sbatch("#!/bin/sh\nexec true\n", ["--nodes=1"]) == "1000042"
    assert asked(tmp_path) == [["--parsable", "--nodes=1"]]
    assert (tmp_path / "stdin").read_text() == "#!/bin/sh\nexec true\n"


def test_a_start_is_asked_for_without_submitting(program, tmp_path):
    slurm = program("sbatch", errors=answers.text("test-only-full"))
    assert slurm.test_only(["--nodes=1"]) == 1795707191.0
    assert asked(tmp_path) == [["--test-only", "--nodes=1"]]


@pytest.mark.parametrize("name", ["partition-unknown", "too-many-cores"])
def test_a_job_that_would_be_refused_has_no_start(program, name):
    slurm = program("sbatch", errors=answers.text(f"test-only-{name}"), code=1)
    with pytest.raises(Refused):
        slurm.test_only([])


def test_at_the_limit_of_a_qos_no_start_is_told(program):
    slurm = program("sbatch", errors=answers.text("test-only-qos-too-many"), code=1)
    with pytest.raises(Full):
        slurm.test_only([])


def test_what_a_user_may_use_is_asked_of_the_accounting(program, tmp_path):
    slurm = program("sacctmgr", answers.text("sacctmgr-show-user-limited"))
    assert len(slurm.associations("ayni", "santiago")) == 3
    slurm.qos()
    user = "-n -P show user where name=ayni cluster=santiago withassoc"
    fields = "format=DefaultAccount,Account,Partition,QOS,DefaultQOS,MaxWall"
    qos = "-n -P show qos format=Name,Flags,MaxWall"
    assert asked(tmp_path) == [[*user.split(), fields], qos.split()]


def test_commands_get_no_environment_but_what_they_need(program, tmp_path, monkeypatch):
    monkeypatch.setenv("SBATCH_PARTITION", "elsewhere")
    monkeypatch.setenv("SQUEUE_FORMAT", "%i")
    program("squeue").squeue("ayni")
    env = dict(line.split("=", 1) for line in (tmp_path / "env").read_text().splitlines())
    assert set(env) - {"PWD", "SHLVL", "_"} == {"PATH", "LC_ALL", "SLURM_TIME_FORMAT", "SLURM_CONF"}


@pytest.mark.parametrize("name", sorted(PASSING))
def test_what_is_wrong_only_now_refuses_nothing(program, name):
    with pytest.raises(ExecutorUnavailable, match="sbatch: "):
        program("sbatch", errors=answers.text(name), code=1).sbatch("", [])


def test_a_limit_on_how_many_jobs_there_are_is_not_a_refusal_for_good(program):
    with pytest.raises(Full, match="QOSMaxSubmitJobPerUserLimit"):
        program("sbatch", errors=answers.text("sbatch-qos-too-many"), code=1).sbatch("", [])


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_every_recorded_refusal_is_one_and_is_told_without_the_program_s_prefixes(program, name):
    with pytest.raises(Refused) as caught:
        program("sbatch", errors=answers.text(name), code=1).sbatch("", [])
    said = refusal(str(caught.value))
    assert said.startswith("the site's scheduler refused it: ")
    assert "error:" not in said
    assert "\n" not in said


@pytest.mark.parametrize("name", ["squeue-slurmctld-down", "squeue-munge-down"])
def test_a_queue_that_cannot_be_asked_is_not_an_empty_queue(program, name):
    slurm = program("squeue", errors=answers.text(name), code=1)
    with pytest.raises(ExecutorUnavailable, match="squeue: "):
        slurm.squeue("ayni")


@pytest.mark.parametrize("name", ["sacct-slurmdbd-down", "sacct-munge-down"])
def test_an_accounting_that_cannot_be_asked_is_not_an_empty_one(program, name):
    with pytest.raises(ExecutorUnavailable, match="sacct: "):
        program("sacct", errors=answers.text(name), code=1).sacct({"1"})


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("squeue-slurmctld-down", "controller"),
        ("sbatch-slurmctld-down", "controller"),
        ("scancel-slurmctld-down", "controller"),
        ("squeue-munge-down", "munge"),
        ("sbatch-munge-down", "munge"),
        ("scontrol-ping-munge-down", "munge"),
        ("sacct-munge-down", "accounting"),
        ("sacct-slurmdbd-down", "accounting"),
        ("sacctmgr-slurmdbd-down", "accounting"),
    ],
)
def test_each_server_that_is_down_is_told_apart_by_what_is_said(name, code):
    found = health.fault(name.partition("-")[0], answers.text(name))
    assert found is not None
    assert found.code == code
    assert found.remedy


@pytest.mark.parametrize("name", sorted(REFUSED | {"sbatch-qos-too-many", "scancel-not-mine"}))
def test_what_slurm_says_about_a_job_is_no_fault_of_a_server(name):
    assert health.fault(name.partition("-")[0], answers.text(name)) is None


def test_what_is_ill_is_told_until_it_answers(program):
    slurm = program("squeue", errors=answers.text("squeue-munge-down"), code=1)
    program("sacct", errors=answers.text("sacct-slurmdbd-down"), code=1)
    for ask in (lambda: slurm.squeue("ayni"), lambda: slurm.sacct({"1"})):
        with pytest.raises(ExecutorUnavailable):
            ask()
    assert slurm.health.faults() == [health.MUNGE, health.DATABASE]
    program("squeue")
    slurm.squeue("ayni")
    assert slurm.health.faults() == [health.DATABASE]
    program("sacct")
    slurm.sacct({"1"})
    assert slurm.health.faults() == []


def test_a_job_that_cannot_be_canceled_without_a_controller_is_not_taken_for_canceled(program):
    slurm = program("scancel", errors=answers.text("scancel-slurmctld-down"), code=1)
    with pytest.raises(ExecutorUnavailable, match="scancel: "):
        slurm.scancel({"2000012"})


def test_a_controller_that_only_munge_keeps_from_us_is_not_called_down(program):
    slurm = program("squeue", errors=answers.text("squeue-slurmctld-down"), code=1)
    program("scontrol", errors=answers.text("scontrol-ping-munge-down"))
    for _ in range(2):
        with pytest.raises(ExecutorUnavailable) as caught:
            slurm.squeue("ayni")
    assert caught.value.fault is health.MUNGE


def test_commands_that_are_not_there_are_a_fault_with_a_remedy(tmp_path):
    slurm = Slurm(bin_folder=tmp_path)
    with pytest.raises(ExecutorUnavailable):
        slurm.nodes()
    [found] = slurm.health.faults()
    assert (found.code, "executor.slurm.bin" in found.remedy) == ("executor", True)


def test_a_cluster_that_keeps_no_accounting_is_told_as_such(program):
    slurm = program("sacctmgr", errors="Slurm accounting storage is disabled", code=1)
    with pytest.raises(ExecutorUnavailable):
        slurm.ask_accounting()
    assert slurm.health.faults() == [health.NO_DATABASE]


def test_a_controller_that_is_down_is_not_waited_for_twice(program, tmp_path):
    down, now = "Slurmctld(primary) at host is DOWN\n", [0.0]
    program("scontrol", down)
    program("squeue", errors=answers.text("squeue-slurmctld-down"), code=1)
    slurm = Slurm(bin_folder=tmp_path, clock=lambda: now[0])
    for _ in range(3):
        for _ in range(2):  # the second is told what the first was
            with pytest.raises(ExecutorUnavailable, match="Unable to contact slurm controller"):
                slurm.squeue("ayni")
        now[0] += 10
    assert [words[0] for words in asked(tmp_path)] == ["-h", "ping", "ping", "ping"]
    program("scontrol", down + "Slurmctld(backup) at other is UP\n")
    program("squeue", answers.squeue("squeue-running"))
    assert len(slurm.squeue("ayni")) == 1
    assert len(slurm.squeue("ayni")) == 1
    assert [words[0] for words in asked(tmp_path)][4:] == ["ping", "-h", "-h"]


def test_a_dead_munge_is_found_before_a_command_waits_for_it(program, tmp_path, monkeypatch):
    now = [0.0]
    config = "AuthInfo                = socket=/x/socket,cred_expire=20\nAuthType = auth/munge\n"
    program("scontrol", config)
    program("squeue")
    slurm = Slurm(bin_folder=tmp_path, clock=lambda: now[0])
    slurm.config()
    program("munge", code=1)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    for ask in (lambda: slurm.squeue("ayni"), slurm.nodes, lambda: slurm.sacct({"1"})):
        with pytest.raises(ExecutorUnavailable) as caught:
            ask()
        assert caught.value.fault.code == "munge"
    assert asked(tmp_path)[1:] == [["-n", "-S", "/x/socket"]], "once for all that ask just then"
    program("munge")
    now[0] = 5.0
    assert slurm.squeue("ayni") == []
    assert "munge" in {fault.code for fault in slurm.health.faults()}, "of the accounting"


def test_many_jobs_are_asked_for_in_few_commands(program, tmp_path):
    program("sacct").sacct({str(number) for number in range(1200)})
    assert len(asked(tmp_path)) == 3


def test_jobs_that_were_not_asked_for_are_not_told(program):
    slurm = program("sacct", answers.sacct("sacct-array-ended"))
    assert set(slurm.sacct({"1000012_0", "1000012_3"})) == {"1000012_0", "1000012_3"}


def test_only_waiting_jobs_are_withdrawn(program, tmp_path):
    program("scancel").scancel({"7", "8_1"}, waiting_only=True)
    assert asked(tmp_path) == [["--quiet", "--state=PENDING", "7", "8_1"]]


def test_a_job_that_is_over_does_not_keep_others_from_being_canceled(program):
    slurm = program("scancel", errors=answers.text("scancel-not-mine"), code=1)
    slurm.scancel({"7"})
    assert slurm.calls == 1


def test_a_command_that_is_not_there_says_what_to_do(tmp_path):
    with pytest.raises(ExecutorUnavailable, match=r"executor\.slurm\.bin"):
        Slurm(bin_folder=tmp_path).squeue("ayni")
