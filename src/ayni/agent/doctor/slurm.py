"""A site with Slurm: its commands and servers, what the configuration names, what nodes must see."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path

import ayni
from ayni.agent import disks, localusers
from ayni.agent.config import Config
from ayni.agent.doctor.base import Check, Checker, fail, ok, warn
from ayni.agent.doctor.disk import SHARED, file_system
from ayni.agent.executors.base import ExecutorUnavailable
from ayni.agent.executors.slurm.tool import Slurm
from ayni.agent.localusers import LocalUser
from ayni.agent.sections import SlurmSection
from ayni.agent.supervisor.helper import VERSION
from ayni.agent.userhelper import Helper, HelperError, Stage
from ayni.errors import UserError

_COMMANDS = ("sbatch", "squeue", "sacct", "scancel", "scontrol", "sacctmgr", "srun")
_OLDEST = (3, 11)
_SKEW = 60.0  # seconds; munge refuses what is five minutes old
_ENFORCED = frozenset({"all", "associations", "limits", "qos", "safe", "wckeys"})


def _section(config: Config) -> SlurmSection:
    assert config.executor.slurm is not None
    return config.executor.slurm


def _slurm(config: Config) -> Slurm:
    return Slurm(_section(config).conf, _section(config).bin)


def commands(config: Config) -> Iterator[Check]:
    """Are Slurm's commands here?"""
    folder = _section(config).bin
    place = None if folder is None else str(folder)
    lost = [name for name in _COMMANDS if shutil.which(name, path=place) is None]
    if lost:
        yield fail(
            "commands",
            f"{', '.join(lost)}: not in {folder or 'PATH'}",
            "install Slurm's client commands, or name their folder in executor.slurm.bin",
        )
        return
    try:
        yield ok("commands", _slurm(config).version())
    except ExecutorUnavailable as error:
        yield fail("commands", str(error), error.fault.remedy)


def controller(config: Config) -> Iterator[Check]:
    """Does slurmctld answer, munge with it, and does it have what the configuration names?"""
    slurm = _slurm(config)
    try:
        known = slurm.config()
        partitions = {partition.name: partition for partition in slurm.partitions()}
    except ExecutorUnavailable as error:
        yield fail(error.fault.code, str(error), error.fault.remedy)
        return
    yield ok("controller", f"cluster {known.get('ClusterName', '?')} answers, and munge works")
    yield from _clock(known)
    wanted = _section(config).partitions
    lost = sorted(set(wanted or ()) - partitions.keys())
    if lost:
        yield fail(
            "partitions",
            f"{', '.join(lost)}: not in the cluster, which has {', '.join(partitions)}",
            "correct executor.slurm.partitions",
        )
    used = [p for p in partitions.values() if wanted is None or p.name in wanted]
    if down := [partition.name for partition in used if not partition.up]:
        yield warn(
            "partitions", f"{', '.join(down)}: down", "scontrol update PartitionName=… State=UP"
        )
    if used and not lost and not down:
        yield ok("partitions", ", ".join(partition.name for partition in used))


def _clock(known: dict[str, str]) -> Iterator[Check]:
    """The controller says what time it has."""
    if (theirs := known.get("at")) is None:
        return
    skew = time.time() - float(theirs)
    if abs(skew) > _SKEW:
        yield warn(
            "slurm clock",
            f"this machine's clock is {skew:+.0f} s off the controller's: munge refuses what seems old",
            "let chronyd or systemd-timesyncd keep the time of both machines",
        )
    else:
        yield ok("slurm clock", "agrees with the controller's")


def accounting(config: Config) -> Iterator[Check]:
    """Does slurmdbd answer, and does it let each user use the account and QOS?"""
    slurm, terms = _slurm(config), _terms(_section(config), _user(config))
    try:
        found = {user: _allowed_qos(slurm, user) for user in sorted({user for user, *_ in terms})}
    except ExecutorUnavailable as error:
        yield warn("accounting", str(error), error.fault.remedy)
        return
    yield ok("accounting", "answers")
    try:
        enforced = set(slurm.config().get("AccountingStorageEnforce", "").split(",")) & _ENFORCED
    except ExecutorUnavailable:
        return  # `controller` has said so
    tell = fail if enforced else warn  # where nothing is enforced, Slurm takes any word
    for user, account, qos in sorted(terms, key=str):
        yield from _allowed(user, account, qos, found[user], tell)


def _allowed_qos(slurm: Slurm, user: str) -> dict[str, set[str]]:
    """The QOS that a user may use with each account."""
    found: dict[str, set[str]] = {}
    for association in slurm.associations(user):
        found.setdefault(association.account, set()).update(association.qos)
    return found


def _terms(section: SlurmSection, agent: str) -> set[tuple[str, str | None, str | None]]:
    """Every user, account and QOS under which batch jobs are submitted."""
    rules = section.rules
    found = [rules.terms(project) for project in section.projects]
    if rules.user or not rules.users:  # other projects are taken, too
        found.append(rules.terms(""))
    named = [terms for terms in found if terms.user or not rules.users]
    return {(terms.user or agent, terms.account, terms.qos) for terms in named}


def local_users(config: Config) -> Iterator[Check]:
    """Can the agent share files with the projects' local users, and submit as each of them?"""
    if not config.local_users:
        return
    if os.geteuid() == 0:
        yield warn(
            "local users",
            "root may be anybody: whether the agent may is not tried",
            f"run it as the agent's user: sudo -u {_user(config)} ayni site doctor",
        )
        return
    try:
        users = localusers.find(config.local_users)
    except UserError as error:
        yield fail("local users", str(error), "mend it, then start the agent anew")
        return
    helper = Helper(_section(config).helper)
    for name, user in users.items():
        try:
            said = helper.ask(name, {"verb": "check"})
        except HelperError as error:
            yield fail(
                "local users",
                str(error),
                f"install the helper, and let sudo start it as {name}: docs/operators/slurm.md, Local "
                "users",
            )
            continue
        yield _misled(name, said, config.shared) or _stages(helper, user)
    yield from _sees_others(config)


def _misled(name: str, said: Mapping[str, object], shared: Path) -> Check | None:
    if said.get("user") != name or said.get("root") != str(shared):
        return fail(
            "local users",
            f"the helper works as {said.get('user')} in {said.get('root')}, not as {name} in {shared}",
            "correct 'root' in the file beside the helper",
        )
    if (shared / "executor").exists() and not said.get("enters"):
        return fail(
            "local users",
            f"{name} cannot enter {shared}/executor",
            f"chmod o+x {shared} and the folders above it",
        )
    if said.get("version") != VERSION:
        return fail(
            "local users",
            f"the helper is of version {said.get('version')}, the agent's of {VERSION}",
            "install the helper anew: docs/operators/slurm.md, Local users",
        )
    return None


def _stages(helper: Helper, user: LocalUser) -> Check:
    """Does sudo hand the helper the socket over which it stages?"""
    stage = Stage(helper, user)
    try:
        stage.ask({"attempt": "doctor", "make": "x"})
    except FileNotFoundError:  # there is no such attempt
        return ok("local users", f"the agent stages and submits as {user.name}")
    except (HelperError, OSError) as error:
        said = str(error)
    else:
        said = "it made a folder where none can be"
    finally:
        stage.close()
    return fail(
        "local users",
        f"files cannot be made as {user.name}: {said}",
        "let sudo not log the input of this command (Defaults!… !log_input)",
    )


def _sees_others(config: Config) -> Iterator[Check]:
    """Where users see their own jobs alone, the agent sees none of those that it submits."""
    try:
        private = _slurm(config).config().get("PrivateData", "").split(",")
    except ExecutorUnavailable:
        return  # `controller` has said so
    if "jobs" in private:
        yield warn(
            "local users",
            "PrivateData=jobs: squeue and sacct may hide from the agent what it submits as others",
            f"sacctmgr modify user {_user(config)} set adminlevel=operator, or make it a coordinator "
            "of the accounts",
        )


def _allowed(
    user: str,
    account: str | None,
    qos: str | None,
    found: Mapping[str, Collection[str]],
    tell: Callable[[str, str, str], Check],
) -> Iterator[Check]:
    if account is None and not found:
        yield tell(
            "account",
            f"user {user} has no account in this cluster",
            f"sacctmgr add user {user} Account=NAME, and name it in executor.slurm.account",
        )
    elif account is not None and account not in found:
        yield tell(
            "account",
            f"user {user} may not use account {account}; it has {', '.join(sorted(found)) or 'none'}",
            f"sacctmgr add user {user} Account={account}, or correct executor.slurm.account",
        )
    elif qos is not None and not any(
        qos in allowed for name, allowed in found.items() if account in (None, name)
    ):
        yield tell(
            "qos",
            f"user {user} may not use QOS {qos} with account {account or 'any'}",
            f"sacctmgr modify user {user} set qos+={qos}, or correct executor.slurm.qos",
        )
    else:
        yield ok("account", f"{user} may use {account or 'its default'}, QOS {qos or 'default'}")


def _user(config: Config) -> str:
    """The agent's: whoever owns its state, since the doctor may be another."""
    try:
        uid = config.state.stat().st_uid
    except OSError:
        uid = os.getuid()
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def shared(config: Config) -> Iterator[Check]:
    """Can the shared folder be used, and is it one that other machines see?"""
    folder = config.shared
    if (found := disks.fault_at(disks.SHARED, folder)) is not None:
        yield fail("shared", f"{folder}: {found.message}", found.remedy)
        return
    kind = file_system(folder)
    if kind in SHARED:
        yield ok("shared", f"{folder} ({kind})")
    else:
        yield warn(
            "shared",
            f"{folder} is on {kind}, by /proc/mounts: a disk of this machine, which others do not see",
            "name a folder on the cluster's shared file system in executor.slurm.shared, unless this "
            "machine is the only node",
        )


def python(config: Config) -> Iterator[Check]:
    """Will compute nodes find the interpreter of the pilots, and Ayni itself?"""
    named = _section(config).python
    program = named or Path(sys.executable)
    try:
        version = _version(program)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        yield warn(
            "python",
            f"{program} cannot be tried on this machine: {error}",
            f"try it on a node: srun {program} --version; it must be 3.11 or newer",
        )
    else:
        if version < _OLDEST:
            yield fail(
                "python",
                f"{program} is {version[0]}.{version[1]}: the pilots need 3.11 or newer",
                "name another one in executor.slurm.python",
            )
        else:
            yield ok("python", f"{program} is {version[0]}.{version[1]}")
    here = Path(ayni.__file__).parent
    own = [here] if named is not None else [here, program]
    for path in own:
        if (kind := file_system(path)) not in SHARED:
            yield warn(
                "python",
                f"{path} is on {kind}, a disk of this machine",
                "install the agent on the shared file system, or by the same path on every node",
            )


def _version(program: Path) -> tuple[int, int]:
    words = [str(program), "-c", "import sys; print(*sys.version_info[:2])"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=20, check=True)
    major, minor = map(int, done.stdout.split())
    return major, minor


CHECKS: tuple[Checker, ...] = (commands, controller, accounting, local_users, shared, python)
