"""Where in a job's root a task may have its files."""

from __future__ import annotations

import errno
from collections.abc import Iterable

from ayni.agent.staging.beneath import parts
from ayni.agent.staging.errors import StagingError

CODE = "path"
#: What the sandbox or the image puts there itself.
RESERVED = (
    "/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/libx32", "/proc", "/run",
    "/sbin", "/sys", "/usr", "/var/run",
)  # fmt: skip


def within(path: str, top: str) -> bool:
    """Whether a normal absolute path is `top` or lies below it."""
    return path == top or path.startswith(top.rstrip("/") + "/")


def normal(path: str) -> str:
    """A task's path without doubled or trailing slashes.

    Raises:
        StagingError: no file can have it.
    """
    try:
        names = parts(path)
    except (OSError, UnicodeError) as error:
        long = isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG
        why = "is too long" if long else "holds '..' or what no path may hold"
        raise StagingError(CODE, f"{path[:100]!r} {why}") from error
    if not path.startswith("/") or not names:
        raise StagingError(CODE, f"{path[:100]!r} must be absolute and more than '/'")
    return "/" + "/".join(names)


def check(path: str, reserved: Iterable[str] = ()) -> str:
    """The path, normal, if a task may have files there.

    Args:
        path: as the task names it.
        reserved: places of this site beside the usual ones.

    Raises:
        StagingError: it is not usable, or the system's own.
    """
    path = normal(path)
    for place in (*RESERVED, *reserved):
        if within(path, place) or within(place, path):
            raise StagingError(
                CODE, f"{path[:100]!r} belongs to the system; take a path such as /data/…"
            )
    return path
