"""What a task says of site volumes: room of its project at a site that outlives the task.

Written `NAME:/path`, or `NAME:/path:ro` for one that is only read; several are separated by commas.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ayni.tes.urls import valid_name

MOST = 8  # of one task
_PATH = re.compile(r"/[A-Za-z0-9._/-]{1,254}")


@dataclass(frozen=True, slots=True)
class Mount:
    """A volume of the task's project, and where the task sees it."""

    name: str
    path: str
    write: bool = True


def parse_mounts(text: str) -> tuple[Mount, ...]:
    """The volumes that a task names.

    Raises:
        ValueError: it cannot be read, or two of them are in each other's way.
    """
    parts = [part.strip() for part in text.split(",")]
    if len(parts) > MOST:
        raise ValueError(f"names {len(parts)} volumes; a task may have {MOST}")
    mounts = tuple(_mount(part) for part in parts)
    for number, one in enumerate(mounts):
        for other in mounts[:number]:
            if one.name == other.name:
                raise ValueError(f"names volume {one.name} twice; once is enough")
            if f"{one.path}/".startswith(f"{other.path}/") or f"{other.path}/".startswith(
                f"{one.path}/"
            ):
                raise ValueError(f"{one.path} and {other.path} are in each other's way")
    return mounts


def _mount(text: str) -> Mount:
    name, _, rest = text.partition(":")
    path, _, mode = rest.partition(":")
    if not valid_name(name) or not path or mode not in ("", "ro", "rw"):
        raise ValueError(f"{text[:80]!r} is no volume; write NAME:/path or NAME:/path:ro")
    names = [part for part in path.split("/") if part]
    if not _PATH.fullmatch(path) or not names or {".", ".."} & set(names):
        raise ValueError(
            f"path {path[:80]!r} must be absolute, of letters, digits, '.', '_', '-' and '/'"
        )
    return Mount(name, "/" + "/".join(names), mode != "ro")


def mounts_of(shape: Mapping[str, Any]) -> tuple[Mount, ...]:
    """Those in a shape that came as JSON."""
    return tuple(Mount(**mount) for mount in shape.get("volumes", ()))


def writes(mounts: Sequence[Mount]) -> bool:
    """Whether one of them is written to."""
    return any(mount.write for mount in mounts)
