"""Containers by Charliecloud's `ch-run`, from an unpacked image folder.

`ch-run` isolates little, and cannot attach a path that the image lacks. So it runs within our own
namespaces (no network, its own processes, a small /dev), on a root that is composed there: the
job's folder, with the image's files attached read-only wherever the job has none of its own.
"""

from __future__ import annotations

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
from ayni.agent.staging.beneath import Root, walk
from ayni.agent.supervisor.namespaces import DEVICES

_NEEDED = ("/proc", "/sys", "/dev", "/tmp", HOME)  # noqa: S108
_OURS = frozenset(_NEEDED)
_Attached = tuple[str, str, bool]  # what, where in the job's root, and whether it may be written


class CharliecloudRuntime:
    """`ch-run` on an unpacked image."""

    name = "charliecloud"

    def __init__(self, program: str = "ch-run") -> None:
        self._program = program

    def plan(self, image: ImageSpec, job: Job) -> Plan:
        folder = Path(image.image or "")
        if not (folder / "bin").exists() and not (folder / "usr").is_dir():
            raise PlanError(f"this site's image {str(folder)!r} is not an unpacked image folder")
        root = job.folder / "root"
        with Root(root) as beneath:
            for path in _NEEDED:
                beneath.make_folders(path)
            composed = list(_compose(folder, beneath))
            binds = list(self._binds(job, beneath))
        mounts = [
            Mount(source, str(root) + inner, write) for source, inner, write in composed + binds
        ]
        sandbox = Sandbox(
            network=job.network,
            mounts=tuple(mounts),
            devices=DEVICES,
            shm=job.limits.memory // 2,
        )
        return Plan(tuple(self._starts(image, job, folder)), sandbox, wrappers=1)

    def _starts(self, image: ImageSpec, job: Job, folder: Path) -> Iterator[Start]:
        root = str(job.folder / "root")
        # Only these reach ch-run itself, which runs outside of the container.
        outside = {
            "PATH": os.defpath,
            "USER": "ayni",
            "TMPDIR": f"{root}/tmp",  # noqa: S108  (the job's own)
            "AYNI_ATTEMPT": job.id,
        }
        for index, command in enumerate(job.commands):
            env = environment(image, job, command)
            base = {name: value for name, value in env.items() if name not in command.env}
            defaults = _write_env(job.folder / f"env.{index}.defaults", base)
            own = {**command.env, "AYNI_ROOT": "", "AYNI_ATTEMPT": job.id}
            words = ["--unset-env=*", "--env-no-expand", f"--set-env={defaults}"]
            if (folder / "ch" / "environment").is_file():
                words.append(f"--set-env={folder / 'ch' / 'environment'}")
            words.append(f"--set-env={_write_env(job.folder / f'env.{index}', own)}")
            cwd = HOME if command.workdir is None else absolute(command.workdir, "workdir")
            with Root(job.folder / "root") as beneath:
                beneath.make_folders(cwd)
            argv = (self._program, "--write", *words, f"--cd={cwd}", root, "--", *command.argv)
            yield Start(argv, outside, "/")

    def _binds(self, job: Job, root: Root) -> Iterator[_Attached]:
        for bind in sorted(job.binds, key=lambda bind: bind.target):
            if not bind.source.exists():
                raise PlanError(f"{bind.target!r} is not there at this site")
            inner = absolute(bind.target, "bind")
            if bind.source.is_dir():
                root.make_folders(inner)
            elif _found(root, inner) is None:
                os.close(root.create(inner))
            yield str(bind.source), inner, bind.writable

    def findings(self) -> Sequence[Finding]:
        return [probe.program(self._program, "charliecloud", ("--version",))]


def _compose(image: Path, root: Root, path: str = "/") -> Iterator[_Attached]:
    """Attach what the image has at `path`; go down only where the job has something there too."""
    for entry in sorted(os.scandir(image), key=lambda entry: entry.name):
        inner = path + entry.name
        if inner in _OURS:
            continue
        found = _found(root, inner)
        if entry.is_symlink():
            if found is None:
                root.link(inner, str(Path(entry.path).readlink()))
        elif entry.is_dir():
            if found is None:
                root.make_folders(inner)
                yield entry.path, inner, False
            elif stat.S_ISDIR(found.st_mode) and next(walk(root, inner), None) is not None:
                yield from _compose(Path(entry.path), root, inner + "/")
        elif entry.is_file() and found is None:
            os.close(root.create(inner))
            yield entry.path, inner, False


def _found(root: Root, path: str) -> os.stat_result | None:
    try:
        return root.stat(path)
    except FileNotFoundError:
        return None


def _write_env(path: Path, variables: dict[str, str]) -> Path:
    """A file of variables, as `ch-run --set-env` reads it: one a line, one pair of quotes removed.

    Raises:
        PlanError: a value has more than one line, which the format cannot hold.
    """
    for name, value in variables.items():
        if "\n" in value:
            raise PlanError(f"env {name!r}: a value of several lines needs another image than this")
    lines = [f"{name}='{value}'\n" for name, value in variables.items()]
    path.write_bytes(os.fsencode("".join(lines)))
    path.chmod(0o644)  # read by the job's own user; the folder above is the agent's alone
    return path
