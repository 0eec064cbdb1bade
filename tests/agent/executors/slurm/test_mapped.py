"""Batch jobs of several local users: the executors behind one, over a simulated Slurm."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ayni.agent import localusers
from ayni.agent.executors.base import (
    EndReason,
    ExecutorUnavailable,
    ExpectedStart,
    Job,
    JobState,
    PartitionInfo,
)
from ayni.agent.executors.slurm import parse
from ayni.agent.executors.slurm.cluster import Cluster
from ayni.agent.executors.slurm.executor import SlurmExecutor
from ayni.agent.executors.slurm.foresight import with_starts
from ayni.agent.executors.slurm.mapped import MappedExecutor, Queue, SlurmAs
from ayni.agent.executors.slurm.script import Rules, Terms
from ayni.agent.executors.slurm.tool import Refused
from ayni.agent.localusers import LocalUser
from ayni.agent.runtimes.bare import BareRuntime
from ayni.agent.supervisor import pilot, sharing
from ayni.agent.userhelper import Helper, HelperError
from ayni.tes.size import Size
from tests.agent.executors.slurm.pooled import IMAGES, until
from tests.agent.executors.slurm.simulated import SimulatedSlurm
from tests.agent.executors.slurm.site import Site

RULES = Rules(
    projects={"fisica": Terms("a-fis", user="ana"), "lenguas": Terms("a-len", user="luis")}
)


INFO = PartitionInfo("main", 3, 4, 8 << 30, 0, 7200, 12, 24 << 30, 0)
SMALL = Size.of(cores=1, memory=1 << 30, gpus=0, walltime=60, nodes=1)


def start(at: float) -> ExpectedStart:
    return ExpectedStart(SMALL, at)


class As:
    """The simulated Slurm as one user has it."""

    def __init__(self, slurm: SimulatedSlurm, queue: Queue, name: str) -> None:
        self._slurm = slurm
        self._queue = queue
        self._name = name
        self.away = False

    def squeue(self, user: str) -> Any:
        return self._queue.rows()

    def sbatch(self, script: str, options: Any) -> str:
        if self.away:
            raise ExecutorUnavailable(f"sudo -u {self._name}: no")
        return self._slurm.sbatch(script, [*options, f"--by={self._name}"])

    def __getattr__(self, name: str) -> Any:
        return getattr(self._slurm, name)


class Users(Site):
    """A site whose batch jobs are those of ana and luis, both of them us."""

    def reopen(self) -> None:
        names = ("ana", "luis")
        self.users = {name: LocalUser(name, os.getuid(), os.getgid()) for name in names}
        state = self.folder / "state"
        localusers.prepare(self.folder / "work", state, self.users.values())
        self.queue = Queue(self.slurm, self.users.values())
        self.opened: list[tuple[str, list[str]]] = []
        cluster = Cluster(self.slurm, None, time.monotonic)
        self.slurms = {name: As(self.slurm, self.queue, name) for name in names}
        executors = {
            name: SlurmExecutor(
                localusers.state_folder(state, user),
                self.slurms[name],  # type: ignore[arg-type]
                IMAGES,
                {"host": BareRuntime()},
                RULES,
                clock=lambda: time.monotonic() + self._skipped,
                user=user,
                cluster=cluster,
            )
            for name, user in self.users.items()
        }
        helper = Helper(Path("/no/helper"), "/no/sudo")
        self.mapped = MappedExecutor(self.users, executors, RULES, cluster, self.queue, helper)
        self.executor = self.mapped  # type: ignore[assignment]
        self.told.clear()

    def task(self, project: str, *argv: str, **changes: Any) -> Job:
        return self.job(*(argv or ("true",)), project=project, **changes)


@pytest.fixture
def site(tmp_path: Path, slurm: SimulatedSlurm) -> Iterator[Users]:
    found = Users(tmp_path, slurm)
    yield found
    slurm.close()
    found.end()
    until(lambda: not found.left())


def test_each_project_s_tasks_are_submitted_by_its_user_to_its_account(site, slurm):
    jobs = [site.task(project) for project in ("fisica", "lenguas") * 3]
    assert all(status.reason is EndReason.EXITED for status in site.run(*jobs))
    by = {
        (option, given[-1])
        for given in slurm.submissions
        for option in given
        if option.startswith("--account")
    }
    assert by == {("--account=a-fis", "--by=ana"), ("--account=a-len", "--by=luis")}
    for job in jobs:
        assert sharing.handed_to(str(job.folder)) == os.getgid()


def test_each_user_has_the_limits_of_its_own_associations(site, slurm):
    some = frozenset({"normal"})
    slurm.associations_of = {
        "ana": [parse.Association("a-fis", True, "", some, "normal", 600)],
        "luis": [parse.Association("a-len", True, "", some, "normal", None)],
    }
    hers, his = (site.task(project, walltime=1200) for project in ("fisica", "lenguas"))
    assert site.executor.submit([hers, his]) == {
        hers.id: "walltime: 1200 asked for, account a-fis of this site gives 480"
    }
    assert site.over(his).reason is EndReason.EXITED


def test_the_queue_is_asked_once_in_a_round_for_all_users(site, slurm, monkeypatch):
    asked = []
    squeue = slurm.squeue
    monkeypatch.setattr(slurm, "squeue", lambda user: asked.append(user) or squeue(user))
    jobs = [site.task("fisica", "sleep", "1"), site.task("lenguas", "sleep", "1")]
    site.submit(*jobs)
    site.poll()
    assert asked == [",".join(str(user.uid) for user in site.users.values())]
    site.over(*jobs)
    rounds = len(asked)
    for executor in site.mapped._executors.values():
        executor.look_soon()
    site.poll()
    assert len(asked) <= rounds + 1


def test_a_batch_job_that_starts_after_the_queue_was_asked_is_not_taken_for_requeued(
    site, slurm, monkeypatch
):
    slurm.holds = True
    mine, his = [site.waiting(project=project) for project in ("fisica", "lenguas")]
    site.submit(mine, his)
    site.until(lambda: len(slurm.queue) == 2)
    events = localusers.state_folder(site.folder / "state", site.users["luis"]) / pilot.EVENTS

    def slowly(user: str) -> Any:
        shown = site.queue.rows()
        slurm.start()
        until(lambda: any("started" in path.read_text() for path in events.iterdir()))
        return shown

    with monkeypatch.context() as patched:
        patched.setattr(site.slurms["ana"], "squeue", slowly)
        site.skip(60)
        site.poll()
    site.running(mine, his)
    for job in (mine, his):
        site.release(job)
    assert [one.reason for one in site.over(mine, his)] == [EndReason.EXITED] * 2


def test_a_project_of_nobody_is_refused_and_the_others_run(site):
    nobody, runs = site.task("otra"), site.task("fisica")
    assert site.executor.submit([nobody, runs]) == {
        nobody.id: "the site has no local user for project otra"
    }
    assert site.over(runs).reason is EndReason.EXITED


def test_one_user_s_trouble_keeps_no_other_waiting_and_is_told(site):
    site.slurms["ana"].away = True
    stuck, runs = site.task("fisica"), site.task("lenguas")
    site.submit(stuck, runs)
    assert site.over(runs).reason is EndReason.EXITED
    site.skip(60)
    with pytest.raises(ExecutorUnavailable, match="sudo -u ana"):
        site.poll()
    site.slurms["ana"].away = False
    assert site.over(stuck).reason is EndReason.EXITED


def test_nonsense_in_one_user_s_folder_harms_no_other(site, slurm):
    mine = site.waiting(project="fisica")
    site.submit(mine)
    site.running(mine)
    state = localusers.state_folder(site.folder / "state", site.users["ana"])
    [events] = (state / pilot.EVENTS).iterdir()
    with events.open("a") as file:
        file.write(json.dumps(["started", mine.id, {"not": "a time"}]) + "\n")
    runs = site.task("lenguas")
    site.submit(runs)
    assert site.over(runs).reason is EndReason.EXITED
    with pytest.raises(ExecutorUnavailable, match="user ana is in disorder"):
        site.poll()
    assert site.executor.states([mine.id])[mine.id].state is JobState.UNKNOWN
    site.release(mine)


def test_another_executor_takes_all_users_tasks_over(site):
    jobs = [site.waiting(project=project) for project in ("fisica", "lenguas")]
    site.submit(*jobs)
    site.running(*jobs)
    site.reopen()
    states = site.executor.states([job.id for job in jobs])
    assert {status.state for status in states.values()} == {JobState.RUNNING}
    site.executor.cancel([jobs[1].id])
    site.release(jobs[0])
    first, second = site.over(*jobs)
    assert (first.reason, second.reason) == (EndReason.EXITED, EndReason.CANCELED)
    site.until(lambda: set(site.executor.allocations()) == {job.id for job in jobs})
    ids = [job.id for job in jobs]
    site.executor.forget(ids)
    site.executor.booked(ids)
    site.until(site.executor.is_idle)
    assert site.files() == ["ana/tag.json", "luis/tag.json"]


def test_the_group_of_a_project_is_its_user_s(site):
    assert site.mapped.group_of("fisica") == os.getgid()
    assert site.mapped.group_of("nobody-s") is None


# --- by the helper


@pytest.fixture
def helped(tmp_path: Path) -> Any:
    """A Slurm whose sudo is a program of ours, that answers what it is told to."""
    sudo = tmp_path / "sudo"
    sudo.write_text('#!/bin/sh\ncat > "$0.asked"; echo "$*" >> "$0.words"; cat "$0.answer"\n')
    sudo.chmod(0o755)

    class Helped:
        slurm = SlurmAs(
            LocalUser("ana", 11, 201),
            Helper(Path("/opt/ayni-helper"), str(sudo)),
            Queue(None, []),  # type: ignore[arg-type]
        )

        def answers(self, text: str) -> None:
            Path(f"{sudo}.answer").write_text(text)

        @property
        def asked(self) -> Any:
            return json.loads(Path(f"{sudo}.asked").read_text())

        @property
        def words(self) -> str:
            return Path(f"{sudo}.words").read_text()

    return Helped()


def test_a_batch_job_is_submitted_as_its_user_and_nobody_else(helped):
    helped.answers('{"code": 0, "stdout": "12;santiago\\n", "stderr": ""}')
    assert helped.slurm.sbatch("#!/bin/sh\nexec true\n", ["--time=3"]) == "12"
    assert helped.words == "-n -u ana /opt/ayni-helper\n"
    assert helped.asked == {
        "verb": "submit", "script": "#!/bin/sh\nexec true\n", "options": ["--time=3"], "test": False,
    }  # fmt: skip


def test_a_start_is_foreseen_as_the_user_sees_it(helped):
    said = "sbatch: Job 1000067 to start at 1795700000 using 1 processors on nodes n1"
    helped.answers(json.dumps({"code": 0, "stdout": "", "stderr": said}))
    assert helped.slurm.test_only(["--time=3"]) == 1795700000
    assert (helped.asked["test"], helped.asked["options"]) == (True, ["--time=3"])


def test_of_what_two_users_are_told_the_later_start_counts():
    [info] = with_starts([INFO], [{"main": (start(50.0),)}, {"main": (start(90.0),), "x": ()}, {}])
    assert info.starts == (start(90.0),)
    assert with_starts([INFO], []) == [INFO]


def test_batch_jobs_are_canceled_as_their_user(helped):
    helped.answers('{"code": 0, "stdout": "", "stderr": ""}')
    helped.slurm.scancel(["13_4", "12"], waiting_only=True)
    assert helped.asked == {"verb": "cancel", "jobs": ["12", "13_4"], "waiting": True}


def test_what_slurm_refuses_is_a_refusal_by_way_of_the_helper_too(helped):
    said = "sbatch: error: Invalid account or account/partition combination specified"
    helped.answers(json.dumps({"code": 1, "stdout": "", "stderr": said}))
    with pytest.raises(Refused, match="Invalid account"):
        helped.slurm.sbatch("#!/bin/sh\nexec true\n", [])


@pytest.mark.parametrize("answer", ["", "no JSON", "[]", '{"error": "takes no arguments"}'])
def test_a_helper_that_fails_decides_nothing_and_is_told(helped, answer):
    helped.answers(answer)
    with pytest.raises(ExecutorUnavailable) as error:
        helped.slurm.sbatch("#!/bin/sh\nexec true\n", [])
    assert error.value.fault.code == "local_user"
    assert "as user ana" in helped.slurm.health.faults()[0].message
    helped.answers('{"code": 0, "stdout": "12", "stderr": ""}')
    helped.slurm.sbatch("#!/bin/sh\nexec true\n", [])
    assert helped.slurm.health.faults() == []


def test_without_sudo_the_operator_is_told(tmp_path):
    with pytest.raises(HelperError, match="/no/sudo"):
        Helper(tmp_path / "helper", "/no/sudo").ask("ana", {"verb": "check"})
