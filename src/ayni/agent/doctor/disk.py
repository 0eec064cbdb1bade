"""Where the agent keeps things: room, speed of an fsync, kind of file system, the site's data."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

from ayni.agent import now
from ayni.agent.config import Config
from ayni.agent.datasets import Datasets
from ayni.agent.doctor.base import Check, Checker, fail, ok, warn
from ayni.agent.supervisor import disk
from ayni.tes.units import show_size

SHARED = ("nfs", "nfs4", "lustre", "cifs", "smb3", "gpfs", "beegfs", "ceph", "fuse.sshfs", "9p")
_LEAST = 2 << 30
_SLOW_SYNC = 0.1  # seconds
_PROBES = 5


def state(config: Config) -> Iterator[Check]:
    """Can the state folder be used, and is it quick and local?"""
    folder = config.state
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        taken = _sync_time(folder)
    except OSError as error:
        yield fail(
            "state",
            f"{folder} cannot be written: {error.strerror}",
            "give the folder to the agent's user, or name another one in 'state'",
        )
        return
    kind = file_system(folder)
    if kind in SHARED:
        yield fail(
            "state",
            f"{folder} is on {kind}: the journal and the supervisors' files need a local disk",
            "name a folder on a local disk in 'state'",
        )
    elif taken > _SLOW_SYNC:
        yield warn(
            "state",
            f"{folder}: an fsync takes {taken * 1000:.0f} ms, so few tasks a second can be taken",
            "use an SSD, or a disk that others do not keep busy",
        )
    else:
        yield ok("state", f"{folder} ({kind}), an fsync takes {taken * 1000:.1f} ms")
    yield from _room(config)


def _sync_time(folder: Path) -> float:
    """Seconds that the median of a few small durable writes takes."""
    path = folder / f".doctor.{os.getpid()}"
    times = []
    try:
        with path.open("wb") as file:
            for _ in range(_PROBES):
                begun = time.perf_counter()
                file.write(b"x" * 4096)
                file.flush()
                os.fsync(file.fileno())
                times.append(time.perf_counter() - begun)
    finally:
        path.unlink(missing_ok=True)
    return sorted(times)[_PROBES // 2]


def file_system(folder: Path) -> str:
    """The kind of file system that a folder is on, as /proc/mounts calls it."""
    place = os.fsencode(folder.resolve())
    best, kind = b"", b"?"
    for line in Path("/proc/mounts").read_bytes().splitlines():
        _, target, found, *_ = line.split()
        target = target.replace(rb"\040", b" ")
        inside = place == target or place.startswith(target.rstrip(b"/") + b"/")
        if inside and len(target) >= len(best):
            best, kind = target, found
    return kind.decode()


def _room(config: Config) -> Iterator[Check]:
    """Of the state folder's disk, and of that of the work folders, which may be another."""
    wanted = config.limits.work + config.limits.cache
    for folder in dict.fromkeys((config.state, config.shared)):
        try:
            free = disk.free(folder)
        except OSError:
            continue  # `shared` says so
        if free < _LEAST:
            yield fail("disk", f"{show_size(free)} free at {folder}", "free some room there")
        elif folder == config.shared and free < wanted:
            yield warn(
                "disk",
                f"{show_size(free)} free at {folder}, while limits.work and limits.cache allow "
                f"{show_size(wanted)}",
                "lower the limits, or name a folder on a larger disk",
            )
        else:
            yield ok("disk", f"{show_size(free)} free at {folder}")


def datasets(config: Config) -> Iterator[Check]:
    """Is what the site offers in order?"""
    store = Datasets(config.store_folder)
    try:
        known = store.scan()
    except OSError as error:
        yield fail(
            "datasets", f"{config.store_folder}: {error.strerror}", "mend the folder's rights"
        )
        return
    for name, problem in sorted(store.problems.items()):
        yield warn("datasets", f"{name} is not offered: {problem}", "see 'ayni site dataset ls'")
    total = sum(dataset.size for dataset in known)
    yield ok("datasets", f"{len(known)} offered, {show_size(total)}" if known else "none offered")


def agent(config: Config) -> Iterator[Check]:
    """Is the agent at work?"""
    words = now.read(config.state)
    if words is None or not words.running:
        yield warn(
            "agent", "does not run", "start it: systemctl start ayni-site, or 'ayni site run'"
        )
    elif words.trouble or words.executor_fault:
        yield warn("agent", words.trouble or words.executor_fault, "mend that; the agent tries on")
    else:
        yield ok("agent", f"runs as process {words.pid}")


CHECKS: tuple[Checker, ...] = (state, datasets, agent)
