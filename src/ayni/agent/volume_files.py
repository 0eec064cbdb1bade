"""How volumes lie on the disk, and what is noted of each. Who may have one is for `volumes` to say.

BASE/PROJECT/NAME/  volume.json  what is known of it
                    lease        the attempt that may write; another in its place is to end by itself
                    data/        what tasks see
                    remove       an operator wants it gone
"""

from __future__ import annotations

import logging
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path

from ayni.agent.staging.errors import StagingError
from ayni.agent.supervisor import files, namespaces, sharing
from ayni.protocol.release import FREE, Rule, from_json
from ayni.tes.urls import valid_name

log = logging.getLogger(__name__)

CODE = "volume"
_META, _LEASE, _DATA, _REMOVE = "volume.json", "lease", "data", "remove"


@dataclass(frozen=True, slots=True)
class Key:
    project: str
    name: str


@dataclass(frozen=True, slots=True)
class Volume:
    """What is known of one. Times are Unix seconds; `size` in bytes, as measured last."""

    id: str
    created: float
    used: float
    size: int = 0
    rule: Rule = FREE
    datasets: tuple[str, ...] = ()  # that were read by who wrote


@dataclass(frozen=True, slots=True)
class VolumeFiles:
    """The folder of all volumes."""

    base: Path

    def make_base(self) -> None:
        """Let tasks pass through it, and not see what is there."""
        self.base.mkdir(parents=True, exist_ok=True)
        self.base.chmod(0o711)

    def folder(self, key: Key) -> Path:
        return self.base / key.project / key.name

    def data(self, key: Key) -> Path:
        return self.folder(key) / _DATA

    def lease(self, key: Key) -> Path:
        return self.folder(key) / _LEASE

    def look(self) -> list[tuple[Key, Volume]]:
        """The volumes that are there, as they are noted."""
        found = []
        for project in _folders(self.base):
            for folder in _folders(project):
                volume = _read(folder)
                if volume is not None and valid_name(project.name) and valid_name(folder.name):
                    found.append((Key(project.name, folder.name), volume))
        return found

    def make(self, key: Key, group: int | None, now: float) -> Volume:
        """A new one; nothing is noted of it yet.

        Args:
            key: whose, and its name.
            group: of the local user who runs the project's tasks; None where there are none.
            now: Unix seconds.

        Raises:
            StagingError: something is there that was written under an unknown rule.
            OSError: the disk refuses.
        """
        folder, data = self.folder(key), self.data(key)
        if data.is_dir() and any(data.iterdir()):  # written to, and nobody knows under which rule
            raise StagingError(
                CODE, f"volume {key.name} is in disorder here; tell the site's operator"
            )
        if group is None:
            data.mkdir(mode=0o700, parents=True, exist_ok=True)
            for path in (folder.parent, folder):
                path.chmod(0o711)
            namespaces.give_away(str(data))
        else:
            sharing.make(str(folder.parent), sharing.READ, group)
            sharing.make(str(folder), sharing.KEEP, group)
            sharing.make(str(data), sharing.WRITE, group)
        return Volume(secrets.token_hex(8), now, now)

    def note(self, key: Key, volume: Volume) -> None:
        files.write_json(str(self.folder(key) / _META), asdict(volume))

    def ask_to_remove(self, key: Key) -> None:
        """Let the agent delete a volume as soon as nobody has it."""
        (self.folder(key) / _REMOVE).touch()

    def is_to_go(self, key: Key) -> bool:
        """Whether that was asked."""
        return (self.folder(key) / _REMOVE).exists()


def _folders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return [path for path in sorted(folder.iterdir()) if path.is_dir() and not path.is_symlink()]


def _read(folder: Path) -> Volume | None:
    """What is noted of a volume; None if nothing is, so that nobody has ever written to it."""
    found = files.read_json(str(folder / _META))
    if found is None:
        return None
    try:
        rule = from_json(found.pop("rule"))
        return Volume(**{**found, "rule": rule, "datasets": tuple(found["datasets"])})
    except (KeyError, TypeError, ValueError):
        log.exception(
            "%s is in disorder; the volume is closed until that is mended", folder / _META
        )
        return None
