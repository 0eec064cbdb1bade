"""What a site brings, in its volume: encoded pseudo-gradients, and which of them were taken.

Each lies under the base that it is to. A successor that comes to the same point says the same bytes again,
which changes nothing; and where a site trained on meanwhile, what it brought is needed once more, when
the answer comes.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from ayni.lm.files import written
from ayni.lm.outer.blocks import Chunks
from ayni.lm.outer.codec import Codec, encode
from ayni.lm.outer.files import FolderStore

log = logging.getLogger(__name__)
_SENT = "sent"
_OLD = 3600.0  # seconds
_REMEMBERED = 256  # bases that something was sent to


def base(fragment: str, version: int, digest: str) -> str:
    """What a contribution is to: also apart from the bases of a run begun anew."""
    return f"{fragment}-{version}-{digest}"


@dataclass(frozen=True)
class Encoded:
    """An encoded vector: its file, and the address of its bytes."""

    path: Path
    ref: str

    @property
    def size(self) -> int:
        return self.path.stat().st_size


class Outgoing:
    """Encoded pseudo-gradients by their bases."""

    def __init__(self, state: Path, codec: Codec) -> None:
        self._store = FolderStore(state / "outgoing")
        self._codec = codec
        self._path = state / _SENT
        self._sent = _read(self._path)
        for path in self._strays():
            path.unlink(missing_ok=True)

    def _strays(self) -> list[Path]:
        """What a process that was killed while it wrote has left."""
        before = time.time() - _OLD
        files = [path for path in self._store.folder.iterdir() if not path.suffix]
        return [path for path in files if path.stat().st_mtime < before]

    def encode(self, to: str, vector: Chunks, count: int) -> Encoded:
        """The file of a vector; if there is one to this base already, that one.

        Raises:
            CodecError: a value that is not finite.
            OSError: it cannot be written.
        """
        found = self.find(to)
        if found is not None:
            return found
        with self._store.create() as out:
            for piece in encode(vector, count, self._codec):
                out.write(piece)
            ref = out.keep()
        path = self._store.folder / f"{to}.{ref}"
        return Encoded(self._store.path(ref).replace(path), ref)

    def find(self, to: str) -> Encoded | None:
        """What was encoded to a base, if it is still here."""
        for path in self._store.folder.iterdir():
            if path.stem == to:
                return Encoded(path, path.suffix[1:])
        return None

    def sweep(self, keep: Collection[str]) -> None:
        """Forget all but what is to these bases."""
        for path in list(self._store.folder.iterdir()):
            if path.suffix and path.stem not in keep:
                path.unlink(missing_ok=True)

    def was_taken(self, to: str) -> bool:
        """Whether the site's agent has taken what is to a base."""
        return to in self._sent

    def taken(self, to: str) -> None:
        """It has: it need not be said again, whatever happens.

        Raises:
            UserError: that cannot be written down.
        """
        self._remember([*self._sent, to][-_REMEMBERED:])

    def forget(self, fragment: str) -> None:
        """Nothing of a fragment was encoded or sent, to any base.

        Raises:
            UserError: that cannot be written down.
        """
        begins = f"{fragment}-"
        for path in list(self._store.folder.iterdir()):
            if path.suffix and path.name.startswith(begins):
                path.unlink(missing_ok=True)
        self._remember([to for to in self._sent if not to.startswith(begins)])

    def _remember(self, sent: list[str]) -> None:
        self._sent = sent
        with written(self._path) as file:
            file.write(json.dumps(sent).encode())


def _read(path: Path) -> list[str]:
    try:
        return [str(to) for to in json.loads(path.read_text())] if path.exists() else []
    except (ValueError, TypeError) as error:
        log.warning("%s: %s; what was sent is sent again", path, error)
        return []
