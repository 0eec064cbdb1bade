"""The site's own users for whom projects' batch jobs run, and the folders that the agent shares with them."""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ayni.agent.supervisor import pilot, sharing
from ayni.errors import UserError


@dataclass(frozen=True, slots=True)
class LocalUser:
    """A user of this machine. `group` is the user's own, in which the agent must be."""

    name: str
    uid: int
    group: int


def find(names: Iterable[str]) -> dict[str, LocalUser]:
    """Those users, by name.

    Raises:
        UserError: one cannot be used; every fault is named, with its remedy.
    """
    found: dict[str, LocalUser] = {}
    faults = []
    for name in sorted(set(names)):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            faults.append(f"there is no user {name} here: make one (useradd), or name another")
            continue
        found[name] = LocalUser(name, entry.pw_uid, entry.pw_gid)
        faults += _faults(found[name])
    for user in found.values():
        faults += _others_in_its_group(user, found)
    if faults:
        raise UserError("executor.slurm: " + "; ".join(faults))
    return found


def _faults(user: LocalUser) -> Iterator[str]:
    if user.uid in (0, os.geteuid()):
        who = "root" if user.uid == 0 else "the agent's own user"
        yield f"user {user.name} is {who}: name one that is neither"
        return
    name = _group(user.group)
    if user.group == os.getegid():
        yield f"user {user.name} has the agent's own group {name}: give it one of its own"
    elif os.geteuid() != 0 and user.group not in os.getgroups():
        yield (
            f"the agent is not in {user.name}'s group {name}: usermod -aG {name} "
            f"{pwd.getpwuid(os.geteuid()).pw_name}, and start the agent anew"
        )


def _others_in_its_group(user: LocalUser, users: Mapping[str, LocalUser]) -> Iterator[str]:
    """By that group, files are shared with the agent; they must be shared with no other project."""
    for other in users.values():
        if other is not user and user.group in os.getgrouplist(other.name, other.group):
            yield (
                f"users {user.name} and {other.name} are both in group {_group(user.group)}, and "
                "would read each other's files: give each a group of its own"
            )


def _group(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


def state_folder(executor_folder: Path, user: LocalUser) -> Path:
    """Where the executor keeps what concerns a user's batch jobs."""
    return executor_folder / user.name


def prepare(work: Path, executor: Path, users: Iterable[LocalUser]) -> None:
    """Make the folders, or set them right.

    Args:
        work: of the work folders. Who knows the name of one may go there; nobody may look.
        executor: of the executor's files.
        users: each gets a folder there.

    Raises:
        OSError: the file system refuses.
    """
    for folder in (work, executor):
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o711)
    for user in users:
        state = state_folder(executor, user)
        sharing.make(str(state), sharing.READ, user.group)
        for name in ("jobs", pilot.POOLS, pilot.CANCELS):
            sharing.make(str(state / name), sharing.READ, user.group)
        for name in (pilot.EVENTS, pilot.LOGS):
            sharing.make(str(state / name), sharing.ADD, user.group)
