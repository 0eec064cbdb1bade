"""The files by which the agent, the spawner and the supervisors know of a job.

`STATE/jobs/ID.json` the job as submitted; `FOLDER/claim` the process that has it;
`FOLDER/exit.json` how it ended. Whoever starts again reads these and knows where things stand.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import stat
import time
from typing import Any, NamedTuple

CLAIM = "claim"
EXIT = "exit.json"
NOBODY = "0.0"  # on whose behalf a job was claimed if no batch job can be meant
_TAG = re.compile(r"agent|[0-9]{1,12}(_[0-9]{1,9})?\.[0-9]{1,6}")
_RESERVE = 16 * 1024  # room for the exit file, kept from the start: a full disk must not lose it


class Process(NamedTuple):
    """A process, told apart from a later one with the same number."""

    pid: int
    start: int  # clock ticks since boot
    boot: str


def boot_id() -> str:
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()


def start_ticks(pid: int) -> int | None:
    """When a process started (field 22 of /proc/PID/stat); None if there is none, or a zombie."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in b"ZX" else int(fields[19])


def this_process() -> Process:
    pid = os.getpid()
    return Process(pid, start_ticks(pid) or 0, boot_id())


def is_alive(process: Process) -> bool:
    return process.boot == boot_id() and start_ticks(process.pid) == process.start


def job_file(state: str, job_id: str) -> str:
    return os.path.join(state, "jobs", job_id + ".json")


def read_json(path: str) -> Any:
    """What a JSON file holds; None if it is not there or was never finished."""
    try:
        return json.loads(read_plain(path))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None


def read_plain(path: str, start: int = 0) -> bytes:
    """What a file holds from `start` on: no link is followed, and nothing but a file is waited for.

    Raises:
        OSError: ELOOP for a link, EINVAL for what is no regular file.
    """
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "is no regular file", path)
        file.seek(start)
        return file.read()


def write_json(path: str, value: Any) -> None:
    """Write a small file that is either there whole or not at all."""
    part = f"{path}.{os.getpid()}"
    try:
        with open(part, "w") as file:
            file.write(json.dumps(value, separators=(",", ":")))  # `dump` would encode in Python
        os.replace(part, path)
    except OSError:  # no room, say
        with contextlib.suppress(OSError):
            os.unlink(part)
        raise


def touch(path: str) -> None:
    """Let there be a file, empty; a link that is there is not followed."""
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640))


def lines(data: bytes) -> list[list[Any]]:
    """JSON lists, one to a line. What a full disk or a crash cut off is passed over, as if never told."""
    found = []
    for line in data.splitlines():
        with contextlib.suppress(ValueError):
            words = json.loads(line)
            if isinstance(words, list) and words:
                found.append(words)
    return found


def claim(folder: str, tag: str = "") -> bool:
    """Take a job: True for exactly one caller, ever. Reserves the room for its exit file.

    The claim is a symbolic link: made once and whole, with its text, and at the cost of one inode.

    Args:
        folder: the job's.
        tag: on whose behalf, for `claim_tag`: which batch job, where there are such.
    """
    text = ":".join(map(str, (*this_process(), tag)))
    path = os.path.join(folder, CLAIM)
    try:
        os.symlink(text, path)
    except FileExistsError:
        # Over NFS, a request that was sent again may find its own first copy's work.
        if not tag or os.readlink(path) != text:
            return False
    _, fd = _open_part(folder)
    try:
        os.posix_fallocate(fd, 0, _RESERVE)
    except OSError:  # no room: nothing was started
        os.unlink(os.path.join(folder, CLAIM))
        raise
    finally:
        os.close(fd)
    return True


def claimed_by(folder: str) -> Process | None:
    try:
        pid, start, boot, *_ = os.readlink(os.path.join(folder, CLAIM)).split(":")
    except FileNotFoundError:
        return None
    return Process(int(pid), int(start), boot)


def claim_tag(folder: str) -> str | None:
    """On whose behalf a job was claimed; None if it has not been."""
    try:
        tag = os.readlink(os.path.join(folder, CLAIM)).split(":", 3)[-1]
    except FileNotFoundError:
        return None
    except OSError:  # no link at all
        tag = ""
    return tag if _TAG.fullmatch(tag) else NOBODY


def decided(job_id: str, state: str, reason: str | None, message: str) -> dict[str, Any]:
    """The exit file of a job that no supervisor ended."""
    return {
        "id": job_id,
        "state": state,
        "reason": reason,
        "message": message,
        "started": None,
        "ended": time.time(),
        "results": [],
        "usage": None,
    }


def write_exit(folder: str, status: dict[str, Any]) -> None:
    """Note how a job ended: durable and whole, also when the disk is full."""
    data = json.dumps(status, separators=(",", ":")).encode()
    part, fd = _open_part(folder)
    try:
        os.write(fd, data)
        os.ftruncate(fd, len(data))
        os.fsync(fd)
    finally:
        os.close(fd)
    os.rename(part, os.path.join(folder, EXIT))


def read_exit(folder: str) -> dict[str, Any] | None:
    found: dict[str, Any] | None = read_json(os.path.join(folder, EXIT))
    return found


def _open_part(folder: str) -> tuple[str, int]:
    """The exit file while it is written: its path and a descriptor."""
    part = os.path.join(folder, EXIT + ".part")
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        return part, os.open(part, flags, 0o640)
    except OSError as error:
        # A local user's pilot reserved it, or put who knows what there: we take another.
        if error.errno not in (errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENXIO):
            raise
    part += ".agent"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(part)
    return part, os.open(part, flags | os.O_EXCL, 0o640)


def open_beneath(base: str, relative: str, flags: int, owner: tuple[int, int] | None = None) -> int:
    """Open a path that a job named, never following a symbolic link of the job's making.

    Args:
        base: a folder that the job cannot replace.
        relative: the path beneath it; `..` is refused.
        flags: as of open(2).
        owner: make the folders on the way, for this user and group.

    Raises:
        OSError: ELOOP where a symbolic link stands in the way.
    """
    names = [name for name in relative.split("/") if name not in ("", ".")]
    if ".." in names or not names:
        raise OSError(errno.EINVAL, "not a path of a file beneath the job's folder", relative)
    here = os.open(base, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for name in names[:-1]:
            if owner is not None:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(name, dir_fd=here)
                    os.chown(name, *owner, dir_fd=here, follow_symlinks=False)
            step = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=here)
            os.close(here)
            here = step
            _refuse_link(here, relative)
        return os.open(
            names[-1],
            flags | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK,  # a FIFO must not block us
            0o644,
            dir_fd=here,
        )
    finally:
        os.close(here)


def _refuse_link(fd: int, path: str) -> None:
    if stat.S_ISLNK(os.fstat(fd).st_mode):
        raise OSError(errno.ELOOP, "a symbolic link is in the way", path)
