"""A job of several ranks becomes `srun`s; each rank finds its command, its sandbox and the others."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ayni.agent.supervisor import boot, files, libc, namespaces, ranks

RANKS = {"nodes": 2, "each": 3, "cores": 4, "mpi": "pmi2"}


def spec(folder: Path, *argv: str, **more: Any) -> dict[str, Any]:
    command = {
        "argv": [*argv], "env": {"PATH": os.environ["PATH"], "MINE": "yes"}, "cwd": str(folder),
        "arguments": None, "stdin": None, "stdout": None, "stderr": None, "ignore_error": False,
    }  # fmt: skip
    limits = {"cores": 12, "memory": 1 << 30, "walltime": 60, "processes": 64, "grace": 1.0}
    return {
        "id": "a", "folder": str(folder), "commands": [command], "sandbox": None, "wrappers": 0,
        "limits": limits, "ranks": RANKS, **more,
    }  # fmt: skip


def test_a_job_of_one_rank_stays_as_it_is(tmp_path: Path) -> None:
    job = spec(tmp_path, "true", ranks=None)
    assert ranks.spread("/state", job, {}) is job


def test_srun_is_told_how_many_ranks_there_are_and_nothing_that_a_user_wrote(
    tmp_path: Path,
) -> None:
    job = ranks.spread("/state", spec(tmp_path, "; rm -rf /"), {"SLURM_JOB_ID": "7"})
    words = job["commands"][0]["argv"]
    assert words[0] == "srun"
    assert {
        "--nodes=2",
        "--ntasks=6",
        "--ntasks-per-node=3",
        "--cpus-per-task=4",
        "--mpi=pmi2",
    } <= {*words}
    assert not any("rm -rf" in word for word in words)
    assert job["commands"][0]["env"] == {"SLURM_JOB_ID": "7", "AYNI_ATTEMPT": "a"}
    assert (job["sandbox"], job["wrappers"]) == (None, 0), "srun itself is no command of the user's"


@pytest.fixture
def state(tmp_path: Path) -> Path:
    (tmp_path / "jobs").mkdir()
    return tmp_path


def rank(state: Path, *argv: str, **env: str) -> subprocess.CompletedProcess[str]:
    """What `srun` would start."""
    files.write_json(files.job_file(str(state), "a"), spec(state, *argv))
    return subprocess.run(
        boot.command("ranks", str(state), "a", 0), env={"PATH": os.environ["PATH"], **env},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def test_a_rank_has_its_own_variables_those_of_its_place_and_no_others(state: Path) -> None:
    done = rank(state, "env", SLURM_PROCID="3", PMI_SIZE="6", SECRET_OF_THE_SITE="x")
    found = dict(line.split("=", 1) for line in done.stdout.splitlines())
    assert (found["MINE"], found["SLURM_PROCID"], found["PMI_SIZE"]) == ("yes", "3", "6")
    assert "SECRET_OF_THE_SITE" not in found


def test_a_rank_ends_as_its_command_ended(state: Path) -> None:
    assert rank(state, "sh", "-c", "exit 7").returncode == 7
    assert rank(state, "sh", "-c", "kill -9 $$").returncode == 137
    assert rank(state, "not-there").returncode == 127


def test_the_warning_reaches_a_rank_s_command_and_leaves_one_that_does_not_listen(
    state: Path,
) -> None:
    ready = "print('up', flush=True); time.sleep(5)"
    listens = "import signal, sys, time; signal.signal(signal.SIGUSR1, lambda *_: sys.exit(75)); "
    later = "import time; print('up', flush=True); time.sleep(1); "
    for code, ends in (
        (listens + ready, 75),
        ("import time; " + ready.replace("5", "1"), 0),
        (later + listens + "time.sleep(60)", 75),
    ):
        files.write_json(files.job_file(str(state), "a"), spec(state, sys.executable, "-c", code))
        srun = subprocess.Popen(
            boot.command("ranks", str(state), "a", 0),
            stdout=subprocess.PIPE,
            env={"PATH": os.environ["PATH"]},
        )
        assert srun.stdout is not None and srun.stdout.readline() == b"up\n"
        srun.send_signal(signal.SIGUSR1)
        assert srun.wait(60) == ends
        srun.stdout.close()


def test_the_descriptor_by_which_ranks_meet_is_handed_on(state: Path) -> None:
    read, write = os.pipe()
    code = "import os; os.write(int(os.environ['PMI_FD']), b'hello\\n')"
    files.write_json(files.job_file(str(state), "a"), spec(state, sys.executable, "-c", code))
    env = {"PATH": os.environ["PATH"], "PMI_FD": str(write)}
    subprocess.run(
        boot.command("ranks", str(state), "a", 0), env=env, pass_fds=[write], check=True, timeout=60
    )
    os.close(write)
    with os.fdopen(read) as told:
        assert told.read() == "hello\n"


def test_a_node_that_does_not_see_the_shared_disk_says_so(state: Path) -> None:
    done = subprocess.run(
        boot.command("ranks", str(state), "b", 0), capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "is it on the shared disk?" in done.stderr


def test_two_ranks_may_make_the_same_folder_of_the_shared_root_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attached = []
    monkeypatch.setattr(libc, "move_mount", lambda tree, target: attached.append(target))
    target = str(tmp_path / "dev" / "shm")

    def the_other_is_a_moment_later(path: str) -> bool:
        Path(path).mkdir(parents=True, exist_ok=True)
        return False

    monkeypatch.setattr(namespaces.os.path, "exists", the_other_is_a_moment_later)
    namespaces._attach(namespaces._Mount(target, -1, is_folder=True))
    assert attached == [target]
