"""Environment modules (Lmod, Environment Modules) that an image's operator names: what they set, told once.

The site's own `module load` is run in a login shell when the agent starts, with names from the
operator's file and nothing of a user's. Tasks get what it set; they never see the module system.
"""

from __future__ import annotations

import functools
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from ayni.agent.runtimes.base import DEFAULT_PATH
from ayni.errors import UserError

SHELL = ("bash", "-l")
_TIMEOUT = 60.0  # seconds
#: The module system's own, and the shell's.
_NOT_THE_TASK_S = (
    "BASH_", "LMOD_", "LOADEDMODULES", "MANPATH", "MODULE", "OLDPWD", "PWD", "SHLVL", "_",
)  # fmt: skip
_LOAD = 'module load "$@" >&2 </dev/null || exit 1; case ":$LOADEDMODULES:" in ::) exit 1;; esac; env -0'


@dataclass(frozen=True, slots=True)
class Loaded:
    """What modules set: folders before the usual PATH, and other variables."""

    path: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def folders(self) -> set[str]:
        """Absolute paths that the variables name: tasks must be able to read them."""
        texts = (*self.path, *(part for value in self.env.values() for part in value.split(":")))
        return {text for text in texts if text.startswith("/")}


@functools.cache
def load(names: tuple[str, ...], shell: tuple[str, ...] = SHELL) -> Loaded:
    """Load modules, in their order, and see what that changes.

    Args:
        names: as the site calls them.
        shell: the words of a shell that knows `module`.

    Raises:
        UserError: there is no such module, or no `module` at all.
    """
    if not names:
        return Loaded()
    before = _environment((*shell, "-c", "env -0"), names)
    after = _environment((*shell, "-c", _LOAD, "ayni", *names), names)
    usual = before.get("PATH", "").split(":")
    path = [part for part in after.get("PATH", "").split(":") if part and part not in usual]
    env = {
        name: value
        for name, value in after.items()
        if name != "PATH" and before.get(name) != value and not name.startswith(_NOT_THE_TASK_S)
    }
    return Loaded(tuple(path), MappingProxyType(env))


def _environment(words: tuple[str, ...], names: tuple[str, ...]) -> dict[str, str]:
    what = f"modules {' '.join(names)}"
    home = os.environ.get("HOME", "/")
    try:
        done = subprocess.run(
            words,
            env={"HOME": home, "PATH": DEFAULT_PATH, "LC_ALL": "C.UTF-8"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="surrogateescape",
            cwd="/",
            timeout=_TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UserError(f"{what}: {words[0]} cannot be run: {error}") from error
    if done.returncode != 0:
        said = " ".join(done.stderr.split())[-300:] or "module load failed"
        raise UserError(f"{what} cannot be loaded here: {said}")
    pairs = (entry.partition("=") for entry in done.stdout.split("\0") if entry)
    return {name: value for name, _, value in pairs}
