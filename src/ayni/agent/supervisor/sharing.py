"""Folders that the agent shares with a local user of the site, by that user's own group.

The agent owns them, and is in the group. What must stay as the agent left it lies where the user may
only read, or where the sticky bit keeps others' files from being moved and replaced; so nothing that
the user does makes the agent open a file of its own in the place of the user's.
"""

from __future__ import annotations

import os
import stat

READ = stat.S_ISGID | 0o750  # the user may look
WRITE = stat.S_ISGID | 0o770  # … and make, move and remove
ADD = stat.S_ISGID | stat.S_ISVTX | 0o770  # … and make, but move and remove only what is its own
KEEP = READ | stat.S_ISVTX  # the user may look; goes where the user can open up what is in it

_THE_USER_S = ("root", "logs")  # of a job's folder


def make(path: str, mode: int, group: int) -> None:
    """Make a folder, or set right one that is there."""
    os.makedirs(path, exist_ok=True)
    os.chown(path, -1, group)
    os.chmod(path, mode)


def make_alike(path: str) -> None:
    """Make a folder; within a shared one, the user may write there."""
    try:
        os.mkdir(path)
    except FileExistsError:
        return
    if is_shared(os.path.dirname(path)):
        os.chmod(path, WRITE)


def is_shared(folder: str) -> bool:
    return bool(os.stat(folder).st_mode & stat.S_ISGID)


def is_ours(folder: str) -> bool:
    return os.stat(folder).st_uid == os.geteuid()


def admit(folder: str, group: int) -> None:
    """Let the user into a fresh job's folder, to put into `root` what is staged as the user."""
    make(folder + "/root", WRITE, group)
    make(folder, KEEP, group)


def hand_over(folder: str, group: int) -> None:
    """Share a job's folder with all that the agent put there; what is the user's own stays as it is.

    The user writes in `root` and `logs` alone. Files with a second name elsewhere (in the agent's
    cache) stay as they are: anybody may read them.
    """
    for path, folders, names, here in os.fwalk(folder):
        above = path[len(folder) :].split("/")[1:2]
        for name in (*folders, *names):
            may = 0o700 if (above or [name])[0] in _THE_USER_S else 0o500
            _share(name, here, group, may)
    os.chown(folder, -1, group)
    os.chmod(folder, ADD)


def _share(name: str, folder: int, group: int, may: int) -> None:
    """By a descriptor: the user may put something else in the place of what we looked at."""
    here = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    try:
        found = os.fstat(here)
        mode = stat.S_IMODE(found.st_mode)
        kept = found.st_nlink > 1 and not stat.S_ISDIR(found.st_mode)
        if kept or stat.S_ISLNK(found.st_mode) or found.st_uid != os.geteuid():
            return
        os.chown(f"/proc/self/fd/{here}", -1, group)
        os.chmod(f"/proc/self/fd/{here}", mode & ~0o070 | (mode & may) >> 3)
    finally:
        os.close(here)


def handed_to(folder: str) -> int | None:
    """The group that a job's folder is shared with; None if it is the agent's alone."""
    found = os.lstat(folder)
    return found.st_gid if found.st_mode & stat.S_ISVTX else None
