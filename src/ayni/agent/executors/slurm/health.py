"""Which of Slurm's servers does not answer, told by what its commands say. Pure.

A command that fails since a server is away says nothing about jobs: it must not be taken for a
refusal, an empty queue or an end.
"""

from __future__ import annotations

from ayni.agent.executors.base import Fault

#: Commands that ask slurmdbd; all others ask slurmctld.
ACCOUNTING = ("sacct", "sacctmgr")
DEAF = "Unable to contact slurm controller"
_MUNGE = ("munge", "Munge", "authentication error", "Invalid authentication credential")
_CONTROLLER = (
    DEAF,
    "did not answer",
    "Socket timed out",
    "Slurm temporarily unable to accept job",
    "Resource temporarily unavailable",
    "Slurm backup controller in standby mode",
    "Transport endpoint is not connected",
    "Connection refused",
    "Slurm controller not responding",
    "Zero Bytes were transmitted or received",
    "slurmdbd",
    "I/O error writing script",  # the disk of its own state is full
)

MUNGE = Fault(
    "munge",
    "Slurm's authentication (munge) does not work on the agent's machine",
    "start it: systemctl start munge; try it: munge -n | unmunge; the key and the clock must be the "
    "controller's",
)
CONTROLLER = Fault(
    "controller",
    "Slurm's controller (slurmctld) does not answer",
    "start it on its machine, look whether the disk of its StateSaveLocation is full, and try: "
    "scontrol ping",
)
CONFIG = Fault(
    "executor",
    "Slurm's commands find no configuration on the agent's machine",
    "name slurm.conf in executor.slurm.conf",
)
DATABASE = Fault(
    "accounting",
    "Slurm's accounting (slurmdbd) does not answer; what it alone knows waits for it",
    "start it, and its database, on its machine, and try: sacctmgr show cluster",
)
NO_DATABASE = Fault(
    "accounting",
    "Slurm keeps no accounting here, so that how some jobs ended cannot be known",
    "set AccountingStorageType=accounting_storage/slurmdbd in slurm.conf",
)


def fault(command: str, said: str) -> Fault | None:
    """What is ill if a command failed with these words; None if the answer is about the job.

    Args:
        command: its name.
        said: its standard error.
    """
    if "configuration source" in said:
        return CONFIG
    if command in ACCOUNTING:
        return NO_DATABASE if "storage is disabled" in said else DATABASE
    if any(words in said for words in _MUNGE):
        return MUNGE
    return CONTROLLER if any(words in said for words in _CONTROLLER) else None


class Health:
    """What did not answer when it was last asked: the controller's side, and the accounting's."""

    def __init__(self) -> None:
        self._found: dict[bool, Fault] = {}

    def told(self, command: str, found: Fault | None) -> None:
        """A command was answered, or failed for this."""
        side = command in ACCOUNTING
        if found is None:
            self._found.pop(side, None)
        else:
            self._found[side] = found

    def is_ill(self, command: str) -> bool:
        """Whether the server that a command asks did not answer."""
        return (command in ACCOUNTING) in self._found

    def faults(self) -> list[Fault]:
        return list(self._found.values())
