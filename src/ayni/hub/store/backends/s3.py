"""An S3 bucket, by obstore.

A presigned URL binds neither size nor hash, and works until it expires. So it points beneath
`incoming/`; to verify, the hub copies a block beneath `blocks/` (within the store), reads the copy
and hashes it. No signed URL for writing ever names `blocks/`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote, urlsplit

import obstore
from obstore.store import S3Store as Bucket

from ayni.hub.store.backends.base import GET_SECONDS, PUT_SECONDS, Block

if TYPE_CHECKING:
    from obstore.store import S3Config

INCOMING = "incoming"
BLOCKS = "blocks"
STALE = timedelta(days=2)
_OPTIONS = {"endpoint", "region", "path_style"}


class S3Store:
    """Credentials come from the environment (`AWS_ACCESS_KEY_ID`, …), never from the URL."""

    at_once = 8

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    @classmethod
    def from_url(cls, url: str) -> S3Store:
        """Of `s3://bucket/prefix?endpoint=https://…&region=…&path_style=true`.

        Raises:
            ValueError: an option that there is not, no bucket, an endpoint that is no address.
        """
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query))
        if unknown := options.keys() - _OPTIONS:
            raise ValueError(f"unknown options {sorted(unknown)}; known are {sorted(_OPTIONS)}")
        if not parts.netloc:
            raise ValueError("it names no bucket")
        config: S3Config = {"region": options.get("region", "us-east-1")}
        if endpoint := options.get("endpoint"):
            address = urlsplit(endpoint)
            if address.scheme not in ("http", "https") or not address.hostname:
                raise ValueError(f"endpoint {endpoint!r} is no address")
            config["endpoint"] = endpoint
        # Stores of one's own seldom have a host name to a bucket.
        path_style = options.get("path_style", "true" if endpoint else "false") == "true"
        config["virtual_hosted_style_request"] = not path_style
        bucket = Bucket(
            parts.netloc,
            prefix=unquote(parts.path).strip("/") or None,
            config=config,
            client_options={"allow_http": (endpoint or "").startswith("http://")},
        )
        return cls(bucket)

    def put_urls(self, blocks: Sequence[Block]) -> list[str]:
        if not blocks:
            return []
        names = [f"{INCOMING}/{block.key}" for block in blocks]
        return list(obstore.sign(self._bucket, "PUT", names, timedelta(seconds=PUT_SECONDS)))

    def get_urls(self, block_keys: Sequence[str]) -> list[str]:
        if not block_keys:
            return []
        names = [f"{BLOCKS}/{key}" for key in block_keys]
        return list(obstore.sign(self._bucket, "GET", names, timedelta(seconds=GET_SECONDS)))

    def arrived(self, prefix: str) -> Mapping[int, int]:
        sizes: dict[int, int] = {}
        for room in (BLOCKS, INCOMING):
            for name, size, _ in self._objects(f"{room}/{prefix}/"):
                number = name.rpartition("/")[2]
                if number.isdigit():
                    sizes[int(number)] = size
        return sizes

    def verify(self, block: Block) -> bool:
        incoming, final = f"{INCOMING}/{block.key}", f"{BLOCKS}/{block.key}"
        try:
            if self._exists(incoming):
                obstore.copy(self._bucket, incoming, final)
            right = self._right(final, block)
        except FileNotFoundError:
            return False
        self._remove([incoming] if right else [incoming, final])
        return right

    def _exists(self, name: str) -> bool:
        try:
            obstore.head(self._bucket, name)
        except FileNotFoundError:
            return False
        return True

    def _right(self, name: str, block: Block) -> bool:
        answer = obstore.get(self._bucket, name)
        if answer.meta["size"] != block.size:
            return False
        hasher = hashlib.sha256()
        for chunk in answer.stream(min_chunk_size=1 << 20):
            hasher.update(memoryview(chunk))
        return hasher.hexdigest() == block.sha256

    def delete_prefix(self, prefix: str) -> None:
        for room in (INCOMING, BLOCKS):
            self._remove([name for name, _, _ in self._objects(f"{room}/{prefix}/")])

    def uploads(self, after: str, limit: int) -> tuple[list[str], str]:
        found: list[str] = []
        for name, _, _ in self._objects(f"{BLOCKS}/", after and f"{BLOCKS}/{after}/~"):
            project, upload, _ = name.removeprefix(f"{BLOCKS}/").split("/", 2)
            if not found or found[-1] != f"{project}/{upload}":
                if len(found) >= limit:
                    return found, found[-1]
                found.append(f"{project}/{upload}")
        return found, ""

    def clear_incoming(self) -> int:
        before = datetime.now(UTC) - STALE
        stale = [name for name, _, at in self._objects(f"{INCOMING}/") if at < before]
        self._remove(stale)
        return len(stale)

    def _objects(self, prefix: str, after: str = "") -> Iterator[tuple[str, int, datetime]]:
        for page in obstore.list(self._bucket, prefix, offset=after or None):
            for entry in page:
                yield entry["path"], entry["size"], entry["last_modified"]

    def _remove(self, names: Sequence[str]) -> None:
        """Objects that are gone already are no fault: removing is repeated after a crash."""
        if not names:
            return
        try:
            obstore.delete(self._bucket, list(names))
        except FileNotFoundError:  # a store that tells it; the others of the list may be left
            for name in names:
                with suppress(FileNotFoundError):
                    obstore.delete(self._bucket, name)
