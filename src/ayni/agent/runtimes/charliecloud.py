"""Containers by Charliecloud's `ch-run`, from an unpacked image folder.

`ch-run` isolates little, and cannot attach a path that the image lacks. So it runs within our own
namespaces (no network, its own processes, a small /dev), on a root that is composed there: the
job's folder, with the image's files attached read-only wherever the job has none of its own.
"""

from __future__ import annotations

import os
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
from ayni.agent.supervisor.namespaces import DEVICES

_NEEDED = ("/proc", "/sys", "/dev", "/tmp", HOME)  # noqa: S108
_OURS = frozenset(_NEEDED)


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
        for path in _NEEDED:
            (root / path[1:]).mkdir(parents=True, exist_ok=True)
        mounts = [*_compose(folder, root, "/"), *self._binds(job, root)]
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
            (job.folder / "root" / cwd[1:]).mkdir(parents=True, exist_ok=True)
            argv = (self._program, "--write", *words, f"--cd={cwd}", root, "--", *command.argv)
            yield Start(argv, outside, "/")

    def _binds(self, job: Job, root: Path) -> Iterator[Mount]:
        for bind in sorted(job.binds, key=lambda bind: bind.target):
            if not bind.source.exists():
                raise PlanError(f"{bind.target!r} is not there at this site")
            target = root / absolute(bind.target, "bind")[1:]
            _make_point(bind.source, target)
            yield Mount(str(bind.source), str(target), bind.writable)

    def findings(self) -> Sequence[Finding]:
        return [probe.program(self._program, "charliecloud", ("--version",))]


def _compose(image: Path, root: Path, path: str) -> Iterator[Mount]:
    """Attach what the image has at `path`; go down only where the job has something there too."""
    for entry in sorted(os.scandir(image), key=lambda entry: entry.name):
        inner = path + entry.name
        target = root / entry.name
        if inner in _OURS:
            continue
        if entry.is_symlink():
            if not os.path.lexists(target):
                target.symlink_to(Path(entry.path).readlink())
        elif entry.is_dir():
            if target.is_dir() and any(target.iterdir()):
                yield from _compose(Path(entry.path), target, inner + "/")
            elif not target.exists():
                target.mkdir()
                yield Mount(entry.path, str(target))
        elif entry.is_file() and not os.path.lexists(target):
            target.touch()
            yield Mount(entry.path, str(target))


def _make_point(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        target.mkdir(exist_ok=True)
    else:
        target.touch()


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
