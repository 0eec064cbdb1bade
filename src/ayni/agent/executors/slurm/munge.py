"""Slurm's authentication on this machine, tried by itself: a command without it waits most of a minute."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Mapping

_WELL, _ILL = 0.5, 5.0  # seconds between two tries, by how the first went
_TIMEOUT = 10.0


class Munge:
    """Whether munged answers; taken for granted until the cluster has said that it uses it, and where."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._words: list[str] = []
        self._next = float("-inf")
        self._works = True

    def learn(self, config: Mapping[str, str]) -> None:
        """Take from Slurm's configuration how to ask."""
        if config.get("AuthType") != "auth/munge":
            return
        named = re.search(r"\bsocket=([^,]+)", config.get("AuthInfo", ""))
        self._words = ["munge", "-n", *(["-S", named[1]] if named else [])]

    def works(self) -> bool:
        """Encode a credential, if that was not tried just now."""
        if self._words and self._clock() >= self._next:
            self._works = self._try()
            self._next = self._clock() + (_WELL if self._works else _ILL)
        return self._works

    def _try(self) -> bool:
        try:
            done = subprocess.run(
                self._words,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=_TIMEOUT,
                check=False,
            )
        except FileNotFoundError:  # Slurm may use it without its command being here
            return True
        except (OSError, subprocess.TimeoutExpired):
            return False
        return done.returncode == 0
