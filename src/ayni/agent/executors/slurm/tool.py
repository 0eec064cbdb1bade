"""Slurm's commands, run in bulk. No shell, no text of a user's; a time-out on each."""

from __future__ import annotations

import os
import pwd
import subprocess
import time
from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from pathlib import Path

from ayni.agent.executors.base import ExecutorUnavailable, Fault
from ayni.agent.executors.slurm import health, parse
from ayni.agent.executors.slurm.munge import Munge

_TIMEOUT = 60.0  # seconds: a busy controller answers late
_MANY = 500  # ids in one command line
_REST = 2.0  # between two questions whether a controller that was away is there again
_PROBE = 10.0  # … and of the accounting, which nobody need wait for


def our_user() -> str:
    """Whose jobs are ours: the process's own user, not the environment's word, which may be another's."""
    return str(os.getuid())


def our_name() -> str:
    """The same user as the accounting knows it; its number where it has no name."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return our_user()


class Refused(Exception):
    """Slurm does not take such a job; the text is its own."""


class Full(Exception):
    """Slurm takes no more jobs of ours for now: a limit on their number."""


class Slurm:
    """One cluster, as its commands show it."""

    def __init__(
        self,
        conf: Path | None = None,
        bin_folder: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Say which cluster.

        Args:
            conf: its slurm.conf; None for the machine's own.
            bin_folder: where the commands are; None to find them in PATH.
            clock: monotonic time.
        """
        self._bin = bin_folder
        folders = [str(bin_folder)] if bin_folder else []
        self._env = {  # that of batch jobs, too
            "PATH": ":".join([*folders, os.environ.get("PATH", os.defpath)]),
            "LC_ALL": "C",
            "SLURM_TIME_FORMAT": "%s",
        }
        if conf is not None:
            self._env["SLURM_CONF"] = str(conf)
        self._clock = clock
        self._munge = Munge(clock)
        self._deaf = False  # the controller did not hear the last command …
        self._ask_again = float("-inf")  # … and is not asked before this
        self.health = health.Health()
        self.calls = 0  # for the bench: what the controller is asked

    def sbatch(self, script: str, options: Sequence[str]) -> str:
        """Submit a script.

        Returns:
            The job's number.

        Raises:
            Refused: Slurm does not take it.
            Full: it would take fewer, or take it later.
            ExecutorUnavailable: it cannot be asked now.
        """
        done = self._call("sbatch", ["--parsable", *options], script)
        if done.returncode == 0:
            return done.stdout.strip().partition(";")[0]
        raise _refusal(done.stderr)

    def test_only(self, options: Sequence[str]) -> float | None:
        """When a job of these options would start, in Unix seconds; nothing is submitted.

        It takes a job's number, and no place in the queue.

        Raises:
            Refused, Full, ExecutorUnavailable: as `sbatch`.
        """
        done = self._call("sbatch", ["--test-only", *options], "#!/bin/sh\n")
        if done.returncode == 0:
            return parse.would_start(done.stderr)
        raise _refusal(done.stderr)

    def squeue(self, user: str) -> list[parse.Queued]:
        """All that a user has in the queue, element by element."""
        return parse.squeue(self._ask("squeue", "-h", "-r", "-u", user, "-o", parse.SQUEUE))

    def sacct(self, ids: Collection[str]) -> dict[str, parse.Account]:
        """What the accounting has of these jobs."""
        found: dict[str, parse.Account] = {}
        wanted = sorted(ids)
        for start in range(0, len(wanted), _MANY):
            some = ",".join(wanted[start : start + _MANY])
            fields = ",".join(parse.SACCT)
            words = ("sacct", "-P", "-n", "-D", "--noconvert", "-j", some, "-o", fields)
            found |= parse.sacct(self._ask(*words))
        return {job: account for job, account in found.items() if job in ids}

    def accounts(self, user: str, begin: float, end: float) -> list[parse.Account]:
        """A user's jobs that were there in a period of Unix seconds; each run by itself."""
        fields = ",".join(parse.SACCT)
        words = ["-P", "-n", "-D", "-X", "--noconvert", "-u", user, "-o", fields]
        times = [f"--starttime={_sacct_time(begin)}", f"--endtime={_sacct_time(end)}"]
        return [
            run
            for account in parse.sacct(self._ask("sacct", *words, *times)).values()
            for run in account.runs
        ]

    def scancel(self, ids: Collection[str], *, waiting_only: bool = False) -> None:
        """End jobs; those that are over are left alone, and so are, if wanted, those that run."""
        wanted = sorted(ids)
        state = ["--state=PENDING"] if waiting_only else []
        for start in range(0, len(wanted), _MANY):
            # It exits with an error if one of them is over.
            self._call("scancel", ["--quiet", *state, *wanted[start : start + _MANY]])

    def ask_accounting(self) -> None:
        """See whether the accounting answers.

        Raises:
            ExecutorUnavailable: it does not.
        """
        self._ask("sacctmgr", "-n", "-P", "show", "cluster", "format=Cluster")

    def associations(self, user: str, cluster: str | None = None) -> list[parse.Association]:
        """What the accounting lets a user use, in one cluster or in all that it knows."""
        where = [f"name={user}", *([f"cluster={cluster}"] if cluster else [])]
        words = ("show", "user", "where", *where, "withassoc", f"format={parse.ASSOCIATION}")
        return parse.associations(self._ask("sacctmgr", "-n", "-P", *words))

    def qos(self) -> dict[str, parse.Qos]:
        """All that there are, by name."""
        return parse.qos(self._ask("sacctmgr", "-n", "-P", "show", "qos", f"format={parse.QOS}"))

    def version(self) -> str:
        return self._ask("scontrol", "--version").strip()

    def nodes(self) -> list[parse.Node]:
        return parse.nodes(self._ask("scontrol", "show", "node", "-o"))

    def partitions(self) -> list[parse.Partition]:
        return parse.partitions(self._ask("scontrol", "show", "partition", "-o"))

    def reservations(self) -> list[parse.Reservation]:
        return parse.reservations(self._ask("scontrol", "show", "reservation", "-o"))

    def config(self) -> dict[str, str]:
        found = parse.config(self._ask("scontrol", "show", "config"))
        self._munge.learn(found)
        return found

    def _ask(self, *words: str) -> str:
        done = self._call(words[0], words[1:])
        if done.returncode != 0:
            raise self._unavailable(words[0], _last_words(done.stderr))
        return done.stdout

    def _unavailable(self, name: str, said: str, fault: Fault | None = None) -> ExecutorUnavailable:
        error = ExecutorUnavailable(f"{name}: {said}", fault)
        self.health.told(name, error.fault)
        return error

    def _call(
        self, name: str, arguments: Sequence[str], script: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command, if it has a chance: without a controller each waits many seconds for one.

        Raises:
            ExecutorUnavailable: a server that it needs does not answer.
        """
        if not self._munge.works():
            raise self._unavailable(name, "munge does not answer", health.MUNGE)
        asks_controller = name not in health.ACCOUNTING
        if asks_controller and self._deaf:
            self._ping(name)
        done = self._run(name, arguments, script)
        found = health.fault(name, done.stderr) if done.returncode != 0 else None
        if asks_controller:
            self._deaf = found is health.CONTROLLER
        if found is not None:
            raise self._unavailable(name, _last_words(done.stderr), found)
        self.health.told(name, None)
        return done

    def _ping(self, name: str) -> None:
        """Raise what a command would, unless the controller is there again."""
        if self._clock() < self._ask_again:
            raise self._unavailable(name, health.DEAF, health.CONTROLLER)
        ping = self._run("scontrol", ["ping"])
        if " is UP" not in ping.stdout:
            self._ask_again = self._clock() + _REST
            fault = health.fault("scontrol", ping.stderr) or health.CONTROLLER
            raise self._unavailable(name, health.DEAF, fault)

    def _run(
        self, name: str, arguments: Sequence[str], script: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        program = str(self._bin / name) if self._bin else name
        self.calls += 1
        try:
            return subprocess.run(
                [program, *arguments],
                input=script,
                stdin=subprocess.DEVNULL if script is None else None,
                capture_output=True,
                text=True,
                errors="replace",
                env=self._env,
                cwd="/",
                timeout=_PROBE if name == "sacctmgr" else _TIMEOUT,
                check=False,
            )
        except FileNotFoundError as error:
            remedy = "install Slurm's client commands, or name their folder in executor.slurm.bin"
            fault = Fault("executor", f"there is no {program} here", remedy)
            raise self._unavailable(name, f"{fault.message}: {remedy}", fault) from error
        except (OSError, subprocess.TimeoutExpired) as error:
            said = f"did not answer: {error}"
            self._deaf = self._deaf or name not in health.ACCOUNTING
            ill = health.fault(name, said) if self._munge.works() else health.MUNGE
            raise self._unavailable(name, said, ill) from error


def _refusal(text: str) -> Exception:
    """What it means that sbatch failed with these words."""
    said = _last_words(text)
    return Full(said) if "MaxSubmitJob" in text else Refused(said)


def _sacct_time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%dT%H:%M:%S")


def _last_words(text: str) -> str:
    """What went wrong, without the prefixes of the program."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    words = [line.split("error: ", 1)[-1] for line in lines]
    return "; ".join(dict.fromkeys(words))[:500] or "it failed without a word"
