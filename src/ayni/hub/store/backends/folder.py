"""A folder, into which the file server writes (`ayni.hub.store.fileserver`)."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ayni.hub.network.hub import this_hub
from ayni.hub.store import disk, keys, signing
from ayni.hub.store.backends.base import GET_SECONDS, PUT_SECONDS, Block


class FolderStore:
    """The file server verifies what it takes and signs bind what it may take: so what lies under a
    key, with the right size, is right."""

    at_once = 1

    def __init__(self, folder: Path, files_url: str) -> None:
        self.folder = folder
        self._files_url = files_url.rstrip("/")

    @classmethod
    def from_url(cls, url: str, files_url: str) -> FolderStore:
        """Of `file:///a/folder`.

        Raises:
            ValueError: it is none, or one that depends on where the hub was started.
        """
        parts = urlsplit(url)
        folder = Path(unquote(parts.path))
        if parts.netloc or not folder.is_absolute() or folder == Path("/"):
            raise ValueError("it names no folder from the root, as in file:///srv/store")
        return cls(folder, files_url)

    def put_urls(self, blocks: Sequence[Block]) -> list[str]:
        secret = this_hub().secret.encode()
        until = int(time.time()) + PUT_SECONDS
        return [
            f"{self._files_url}/{b.key}?{signing.put_query(secret, b.key, b.size, b.sha256, until)}"
            for b in blocks
        ]

    def get_urls(self, block_keys: Sequence[str]) -> list[str]:
        secret = this_hub().secret.encode()
        until = int(time.time()) + GET_SECONDS
        return [
            f"{self._files_url}/{key}?{signing.get_query(secret, key, until)}" for key in block_keys
        ]

    def arrived(self, prefix: str) -> Mapping[int, int]:
        try:
            with os.scandir(keys.folder_of(self.folder, prefix)) as entries:
                return {int(e.name): e.stat().st_size for e in entries if e.name.isdigit()}
        except FileNotFoundError:
            return {}

    def verify(self, block: Block) -> bool:
        try:
            return keys.file_of(self.folder, block.key).stat().st_size == block.size
        except FileNotFoundError:
            return False

    def delete_prefix(self, prefix: str) -> None:
        folder = keys.folder_of(self.folder, prefix)
        try:
            shutil.rmtree(folder)
        except FileNotFoundError:
            return

    def uploads(self, after: str, limit: int) -> tuple[list[str], str]:
        found: list[str] = []
        for shard in self._shards(after):
            project = shard.parent.name
            found += sorted(f"{project}/{name}" for name in _folders(shard))
            if len(found) >= limit:
                return found, f"{project}/{shard.name}"
        return found, ""

    def _shards(self, after: str) -> Iterator[Path]:
        """Folders `PROJECT/XX` in order, behind `after`."""
        last_project, _, last_shard = after.partition("/")
        for project in sorted(_folders(self.folder)):
            if project < last_project or project == keys.INCOMING:
                continue
            for shard in sorted(_folders(self.folder / project)):
                if project > last_project or shard > last_shard:
                    yield self.folder / project / shard

    def clear_incoming(self) -> int:
        try:
            return disk.clear_incoming(self.folder)
        except FileNotFoundError:
            return 0


def _folders(path: Path) -> list[str]:
    try:
        with os.scandir(path) as entries:
            return [e.name for e in entries if e.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return []
