"""What the running agent says of itself, in a small file for `ayni site status` and the doctor."""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path

FILE = "now.json"
EVERY = 2.0  # seconds between two writings


@dataclass(frozen=True, slots=True)
class Now:
    """Times are Unix seconds."""

    site: str
    hub: str
    pid: int
    at: float
    sandbox: str
    heard: float | None = None  # when the hub was heard last
    trouble: str = ""  # why it is not heard now
    executor_fault: str = ""
    depth: int = 0

    @property
    def running(self) -> bool:
        """Whether that process is still there. (A file from before a crash may linger.)"""
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass
        return time.time() - self.at < 60


def write(folder: Path, now: Now) -> None:
    part = folder / f"{FILE}.part"
    part.write_text(json.dumps(asdict(now)))
    part.replace(folder / FILE)


def read(folder: Path) -> Now | None:
    """The last words of the agent, if there are any that can be read."""
    try:
        return Now(**json.loads((folder / FILE).read_text()))
    except (OSError, ValueError, TypeError):
        return None
