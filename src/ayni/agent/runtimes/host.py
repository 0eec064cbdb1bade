"""The runtime `host`: the site's own /usr, and nothing else of it, around a job's folder.

The folder is `/`, so that a task's absolute paths work. Two ways to build it: our own sandbox
(`supervisor.namespaces`) and bubblewrap; docs/decisions/0003-sandbox.md weighs them.
"""

# ruff: noqa: PTH116, PTH211
from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from ayni.agent.executors.base import Job
from ayni.agent.runtimes import probe
from ayni.agent.runtimes.base import (
    HOME,
    Finding,
    ImageSpec,
    Mount,
    Plan,
    PlanError,
    Sandbox,
    Start,
    absolute,
    environment,
)
from ayni.agent.supervisor.namespaces import DEVICES, INNER_ID

_SYSTEM = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
_OWN = ("/proc", "/dev")
_TMP = "/tmp"  # noqa: S108  (the job's own, on its disk)


class HostFiles:
    """What of this machine a job sees: the same for both sandboxes."""

    def __init__(self, etc: Path) -> None:
        """Look at the machine once.

        Args:
            etc: the folder that stands for /etc.
        """
        self._etc = etc
        self._links_folder = etc.with_name("links")
        system = [path for path in map(Path, _SYSTEM) if path.exists()]
        self._links = {path.name: str(path.readlink()) for path in system if path.is_symlink()}
        folders = [str(path) for path in system if not path.is_symlink()]
        self._system = tuple(Mount(name, name) for name in ("/usr", *folders))
        self._links_folder.mkdir(exist_ok=True)
        for name, target in self._links.items():
            with contextlib.suppress(FileExistsError):
                (self._links_folder / name).symlink_to(target)

    def lay_links(self, root: Path) -> None:
        """Put /bin and the like into a job's folder: as hard links, which cost no inode each."""
        # Here and below, text: for a short job pathlib would cost as much as all the rest.
        for name, target in self._links.items():
            try:
                os.link(f"{self._links_folder}/{name}", f"{root}/{name}", follow_symlinks=False)
            except FileExistsError:
                continue
            except OSError:  # another disk, or too many names: one of its own
                os.symlink(target, f"{root}/{name}")

    def mounts(self, image: ImageSpec, job: Job) -> tuple[Mount, ...]:
        """All of them, in order.

        Raises:
            PlanError: a path of the task would be hidden behind one of them, or is not there.
        """
        own, root = tuple(self._own_mounts(image, job)), f"{job.folder}/root"
        for target in (*_OWN, *(mount.target for mount in own)):
            if _is_taken(root + target):
                raise PlanError(f"nothing can be put at {target!r}: this image has its own there")
        for name in self._links:
            if _is_no_link(f"{root}/{name}"):
                raise PlanError(f"nothing can be put at '/{name}': this image has its own there")
        return *own, *self._binds(job)

    def _own_mounts(self, image: ImageSpec, job: Job) -> Iterator[Mount]:
        yield from self._system
        yield Mount(str(self._etc), "/etc")
        if job.network:
            yield Mount(os.path.realpath("/etc/resolv.conf"), "/etc/resolv.conf")
        for prefix in image.prefixes:
            yield Mount(str(prefix), str(prefix))

    def _binds(self, job: Job) -> Iterator[Mount]:
        for bind in sorted(job.binds, key=lambda bind: bind.target):
            if not bind.source.exists():
                raise PlanError(f"{bind.target!r} is not there at this site")
            yield Mount(str(bind.source), absolute(bind.target, "bind"), bind.writable)


def _is_taken(path: str) -> bool:
    """Whether the task has put something there: an empty mount point does not count."""
    try:
        with os.scandir(path) as entries:
            return next(entries, None) is not None
    except FileNotFoundError:
        return False
    except NotADirectoryError:
        return os.stat(path).st_size > 0


def _is_no_link(path: str) -> bool:
    try:
        return not stat.S_ISLNK(os.lstat(path).st_mode)
    except FileNotFoundError:
        return False


def _workdir(path: str | None) -> str:
    return HOME if path is None else absolute(path, "workdir")


class NamespaceRuntime:
    """Our own sandbox."""

    name = "host"

    def __init__(self, files: HostFiles) -> None:
        self._files = files

    def plan(self, image: ImageSpec, job: Job) -> Plan:
        mounts = self._files.mounts(image, job)
        self._files.lay_links(job.folder / "root")
        sandbox = Sandbox(
            network=job.network,
            root=str(job.folder / "root"),
            mounts=mounts,
            folders=(_TMP, HOME),
            devices=DEVICES,
            shm=job.limits.memory // 2,
        )
        starts = tuple(
            Start(command.argv, environment(image, job, command), _workdir(command.workdir))
            for command in job.commands
        )
        return Plan(starts, sandbox, wrappers=1)

    def findings(self) -> Sequence[Finding]:
        return [probe.namespaces(self._files)]


class BubblewrapRuntime:
    """The same by bubblewrap."""

    name = "host"

    def __init__(self, files: HostFiles, program: str = "bwrap") -> None:
        self._files = files
        self._program = program

    def plan(self, image: ImageSpec, job: Job) -> Plan:
        options = list(self._options(image, job))
        self._files.lay_links(job.folder / "root")
        starts = []
        for index, command in enumerate(job.commands):
            # In a file: a command line is for all to read, and bubblewrap itself, which runs
            # outside, must not be given the user's variables.
            arguments = job.folder / f"arguments.{index}"
            env = environment(image, job, command)
            variables = [part for item in env.items() for part in ("--setenv", *item)]
            cwd = _workdir(command.workdir)
            words = [*options, "--dir", cwd, "--chdir", cwd, "--clearenv", *variables]
            arguments.write_bytes(b"".join(os.fsencode(word) + b"\0" for word in words))
            arguments.chmod(0o600)
            argv = (self._program, "--args", "3", "--", *command.argv)
            outside = {"PATH": os.defpath, "AYNI_ATTEMPT": job.id}
            starts.append(Start(argv, outside, "/", str(arguments)))
        return Plan(tuple(starts), wrappers=2)

    def _options(self, image: ImageSpec, job: Job) -> Iterator[str]:
        yield from ("--unshare-user", "--disable-userns", "--unshare-pid", "--unshare-ipc")
        yield from ("--unshare-uts", "--unshare-cgroup-try", "--hostname", "ayni")
        if not job.network:
            yield "--unshare-net"
        yield from ("--uid", str(INNER_ID), "--gid", str(INNER_ID), "--cap-drop", "ALL")
        yield from ("--die-with-parent", "--new-session")
        yield from ("--bind", str(job.folder / "root"), "/")
        yield from ("--proc", "/proc", "--dev", "/dev", "--dir", _TMP, "--dir", HOME)
        if os.geteuid() == 0:  # outside, the job is root then, who may write the kernel's settings
            yield from ("--ro-bind", "/proc/sys", "/proc/sys")
        for mount in self._files.mounts(image, job):
            kind = "--bind" if mount.writable else "--ro-bind"
            yield from (kind, mount.source, mount.target)

    def findings(self) -> Sequence[Finding]:
        return [probe.bubblewrap(self._program)]
