"""A task over several nodes, or of several ranks: `srun` starts its command once to a rank.

The supervisor runs `srun` in the place of the command, and `srun` runs this module in the place of each
rank: it builds the same sandbox around the command that a task of one node has. So a task never talks
to the scheduler itself, and cannot leave its sandbox by another node. Ranks find each other by PMI,
whose descriptor and variables are handed on, and talk over the network: each has a /dev/shm of its own.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
from collections.abc import Mapping
from typing import Any

from ayni.agent.supervisor import boot, files, launch, libc, namespaces, processes

#: What a rank must know of itself and the others.
_HANDED_ON = ("PMI_", "PMIX_", "PALS_", "SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID", "SLURM_NTASKS",
              "SLURM_NNODES", "SLURM_NPROCS", "SLURM_JOB_ID", "SLURM_STEP")  # fmt: skip
#: Ranks of one node share no memory, though they see one host name: MPICH, Open MPI, UCX beneath both
#: (which else hangs now and then). An image's `env` goes before: `UCX_TLS = "rc,self"` for InfiniBand.
_OVER_THE_NETWORK = {
    "MPIR_CVAR_NOLOCAL": "1",
    "OMPI_MCA_btl": "self,tcp",
    "UCX_TLS": "tcp,self",
}

#: MPI libraries look there for the network's interfaces and the machine's layout.
_SYSFS = {"source": "/sys", "target": "/sys", "writable": False}


def spread(state: str, spec: dict[str, Any], env: Mapping[str, str]) -> dict[str, Any]:
    """A job whose commands are `srun`s of its ranks; a job of one rank stays as it is.

    Args:
        state: the executor's state folder.
        spec: the job. `ranks` says on how many nodes, how many on each, with how many cores.
        env: of the batch job, for `srun`.
    """
    ranks = spec.get("ranks")
    if ranks is None:
        return spec
    if spec["sandbox"] is not None:
        namespaces.give_away(os.path.join(spec["folder"], "root"))
    options = [f"--nodes={ranks['nodes']}", f"--ntasks={ranks['nodes'] * ranks['each']}",
               f"--ntasks-per-node={ranks['each']}", f"--cpus-per-task={ranks['cores']}",
               "--export=ALL", "--kill-on-bad-exit=1", "--quiet"]  # fmt: skip
    if ranks["mpi"]:
        options.append(f"--mpi={ranks['mpi']}")
    outside = {**env, processes.MARKER: spec["id"]}
    commands = [
        {
            **command,
            "argv": ["srun", *options, *boot.command("ranks", state, spec["id"], index)],
            "env": outside,
            "cwd": "/",
            "arguments": None,
        }
        for index, command in enumerate(spec["commands"])
    ]
    return {**spec, "commands": commands, "sandbox": None, "wrappers": 0}


def main(state: str, job_id: str, index: int) -> None:
    """Be one rank of one command."""
    spec = files.read_json(files.job_file(state, job_id))
    if spec is None:
        sys.exit(
            f"ayni: there is no job {job_id} in {state} on this node: is it on the shared disk?"
        )
    libc.become_subreaper()
    command = spec["commands"][index]
    mine = {name: value for name, value in os.environ.items() if name.startswith(_HANDED_ON)}
    keep = [int(mine["PMI_FD"])] if mine.get("PMI_FD", "").isdigit() else []
    command = {**command, "env": {**_OVER_THE_NETWORK, **command["env"], **mine}, "keep": keep}
    sandbox = spec["sandbox"]
    if sandbox is not None and sandbox["root"] is not None:
        sandbox["mounts"].append(_SYSFS)
    pid, control = launch.start(command, spec["limits"], sandbox, (0, 1, 2), lambda _: None)
    wrappers = spec["wrappers"]

    ended = []  # by srun, for what another rank did, or by a cancel

    def pass_on(number: int, frame: object) -> None:
        ended.append(number)
        processes.send(processes.tree(os.getpid(), wrappers).pids, number)

    def warn(number: int, frame: object) -> None:
        found = processes.tree(os.getpid(), wrappers).pids
        if not processes.send_to_listeners(found, signal.SIGUSR1):
            signal.setitimer(signal.ITIMER_REAL, processes.WARN_AGAIN)

    signal.signal(signal.SIGTERM, pass_on)
    signal.signal(signal.SIGUSR1, warn)
    signal.signal(signal.SIGALRM, warn)
    poller = select.poll()
    poller.register(control.fileno(), select.POLLIN)
    while poller.poll():
        said = launch.heard(control)
        if said is None:
            break
        if said[0]:
            print(f"ayni: the sandbox could not be built: {said[0]}", file=sys.stderr, flush=True)
    code = launch.exit_code(os.waitpid(pid, 0)[1])
    processes.kill_descendants(lambda _: None)
    if code != 0 and not ended:
        with contextlib.suppress(FileExistsError):  # another rank failed before
            os.symlink(str(code), _first_failure(spec, index))
    sys.exit(code)


def blame(spec: dict[str, Any], status: dict[str, Any]) -> None:
    """Let a command's exit code be that of the rank that failed first: `srun` gives the highest."""
    for index, result in enumerate(status["results"]):
        with contextlib.suppress(FileNotFoundError):
            result["exit_code"] = int(os.readlink(_first_failure(spec, index)))


def _first_failure(spec: dict[str, Any], index: int) -> str:
    return os.path.join(spec["folder"], f"failed.{index}")
