"""When the site takes nothing: its operator drains it, or has announced maintenance.

A small file in the state folder, written by `ayni site drain` and `ayni site maintenance` and read by
the running agent: no restart is needed.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from pydantic import Field, ValidationError

from ayni.errors import UserError
from ayni.protocol.policy import Model, Reason, Window, reaches

FILE = "closures.json"
MOST = 100  # windows


class Closures(Model):
    """What is closed: `draining` holds the operator's reason while the site is drained."""

    draining: str | None = None
    windows: list[Window] = Field(default=[], max_length=MOST)

    def against(self, walltime: float, now: float) -> Reason | None:
        """Why a task of so many seconds is not taken now; None if it is."""
        if self.draining is not None:
            why = f": {self.draining}" if self.draining else ""
            return Reason(code="draining", message=f"takes no new tasks, by its operator{why}")
        return reaches(self.windows, walltime, now)


def read(folder: Path) -> Closures:
    """What the file says; nothing is closed where there is none.

    Raises:
        UserError: it cannot be understood.
    """
    path = folder / FILE
    try:
        return Closures.model_validate_json(path.read_text())
    except FileNotFoundError:
        return Closures()
    except (OSError, ValidationError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}); remove it, and announce anew") from error


def write(folder: Path, closures: Closures) -> None:
    """Put it in place, whole.

    Raises:
        UserError: the state folder cannot be written.
    """
    part = folder / f"{FILE}.{os.getpid()}"
    try:
        part.write_text(json.dumps(closures.model_dump()))
        part.replace(folder / FILE)
    except OSError as error:
        raise UserError(
            f"{folder} cannot be written ({error.strerror}); are you the agent's user?"
        ) from error
