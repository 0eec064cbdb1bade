"""Whether the agent's folders can be used: tried now and then, by a thread that may hang on them."""

from __future__ import annotations

import errno
import os
import secrets
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from ayni.agent.executors.base import Fault
from ayni.agent.supervisor import disk
from ayni.errors import UserError
from ayni.tes.units import show_size

STATE, SHARED = "state", "shared"
LEAST = 256 << 20  # bytes that must be free: the journal of a full disk stops the agent
_HANGS = 60.0  # seconds without an answer from a disk after which it counts as away
_NAMES = {STATE: "state folder", SHARED: "shared folder"}
_FULL = (errno.ENOSPC, errno.EDQUOT)
_REMEDIES = {
    STATE: "mend that disk and the folder's rights; it belongs to the agent's user",
    SHARED: "is it mounted, and may the agent's user write there? What runs goes on",
}


def fault(place: str, error: OSError) -> Fault:
    """What an error with a folder means.

    Args:
        place: STATE or SHARED.
        error: what the system said.
    """
    said = error.strerror or str(error)
    if error.errno in _FULL:
        return _full(place, said)
    return Fault(place, f"the site's {_NAMES[place]} cannot be used: {said}", _REMEDIES[place])


def _full(place: str, how: str) -> Fault:
    message = f"the disk of the site's {_NAMES[place]} is full: {how}"
    return Fault("disk", message, "free some room there")


class Disks:
    """The folders, by their place, and what is ill with each."""

    def __init__(
        self, folders: Mapping[str, Path], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._folders = dict(folders)
        self._clock = clock
        self._found: dict[str, Fault] = {}
        self._looking: tuple[str, float] | None = None  # at which place, and since when

    def look(self) -> None:
        """Try each; may take as long as the slowest."""
        for place, folder in self._folders.items():
            self._looking = place, self._clock()
            found = fault_at(place, folder)
            self._looking = None
            if found is None:
                self._found.pop(place, None)
            else:
                self._found[place] = found

    def faults(self) -> list[Fault]:
        """What is ill as of the last look; never touches a disk."""
        found = dict(self._found)
        looking = self._looking
        if looking is not None and self._clock() - looking[1] > _HANGS:
            place = looking[0]
            hangs = OSError(errno.ETIMEDOUT, "it does not answer")
            found[place] = fault(place, hangs)
        return list(found.values())


def fault_at(place: str, folder: Path) -> Fault | None:
    """Try to write into a folder; what is ill with it, or None.

    Args:
        place: STATE or SHARED.
        folder: where that is.
    """
    path = folder / f".writable.{os.getpid()}"
    try:
        try:
            path.write_bytes(b"x" * 4096)
        finally:
            path.unlink(missing_ok=True)
        free = disk.free(folder)
    except OSError as error:
        return fault(place, error)
    return _full(place, f"less than {show_size(LEAST)} free") if free < LEAST else None


def recognize(state: Path, shared: Path) -> None:
    """Make sure that the shared folder is the one of before; an unmounted disk leaves an empty one.

    An agent that began anew there would call lost all that runs.

    Args:
        state: the agent's own folder, which keeps the mark that it saw in the shared one.
        shared: the shared folder; it gets a mark if this is its first agent.

    Raises:
        UserError: the mark is not there, or the folder cannot be used.
    """
    ours, theirs = state / "shared.mark", shared / ".ayni-mark"
    try:
        known, found = _mark(ours), _mark(theirs)
        if known is not None and known != found:
            raise UserError(
                f"{shared} is not the shared folder of before: is its disk mounted? If it was moved or "
                f"emptied on purpose, and nothing of ours runs, remove {ours}"
            )
        if found is None:
            found = secrets.token_hex(8)
            shared.mkdir(parents=True, exist_ok=True)
            theirs.write_text(found)
        if known is None:
            ours.write_text(found)
    except OSError as error:
        raise UserError(f"executor.slurm.shared: {error}") from error


def _mark(path: Path) -> str | None:
    return path.read_text() if path.exists() else None
