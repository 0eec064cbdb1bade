"""A project's files at the hub, over `/api/v1`, for whoever holds a person's token."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx
from pydantic import BaseModel, ConfigDict, ValidationError

from ayni.transfer.blocks import Described
from ayni.transfer.errors import Again, TransferError
from ayni.transfer.fetch import Incoming
from ayni.transfer.halt import Halt
from ayni.transfer.http import patiently
from ayni.transfer.mover import Mover, silent
from ayni.transfer.send import Progress
from ayni.transfer.wire import Answer, Manifest

M = TypeVar("M", bound=BaseModel)


class Committed(BaseModel):
    """A file of a project, as it stands now."""

    model_config = ConfigDict(extra="ignore")
    path: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class ProjectFiles:
    """Puts and gets. `api` is a client of the hub: base URL `{hub}/api/v1`, with the token."""

    api: httpx.Client
    mover: Mover

    def put(
        self,
        source: Path,
        path: str,
        *,
        described: Described | None = None,
        stop: threading.Event | None = None,
        progress: Progress = silent,
    ) -> Committed:
        """Send a local file; it replaces what was at `path` at once and as a whole.

        Putting the same file again after an interruption goes on where it was. Whoever has hashed
        the file already gives `described`, so that it is not read twice.

        Raises:
            TransferError: it cannot be read, the project is full, the path is taken, …
        """
        described = described or self.mover.describe(source, stop=stop)
        upload = self.mover.send(
            source,
            described,
            lambda: self._declare(path, described),
            stop=stop,
            progress=progress,
        )
        return _read(Committed, self._call("POST", f"/uploads/{upload}/commit", stop=stop))

    def get(
        self,
        path: str,
        target: Path,
        *,
        sha256: str | None = None,
        stop: threading.Event | None = None,
        progress: Progress = silent,
    ) -> None:
        """Bring a file to `target`, where it appears whole or not at all.

        Args:
            sha256: what its bytes must hash to, if that is known.

        Raises:
            TransferError: there is no such file, it is another one, the disk is full, …
        """
        incoming = self._incoming(path, target)
        if sha256 is not None and incoming.manifest.sha256 != sha256:
            raise TransferError(f"{path} is not the file that was asked for", code="changed")
        self.mover.fetch(incoming, stop=stop, progress=progress)

    def get_many(
        self,
        pairs: Sequence[tuple[str, Path]],
        *,
        stop: threading.Event | None = None,
        progress: Progress = silent,
    ) -> list[TransferError | None]:
        """Bring many files; for each, in order, None or why it failed."""
        results: list[TransferError | None] = [None] * len(pairs)
        files: list[tuple[int, Incoming]] = []
        for index, (path, target) in enumerate(pairs):
            try:
                files.append((index, self._incoming(path, target)))
            except TransferError as error:
                results[index] = error
        fetched = self.mover.fetch_many([f for _, f in files], stop=stop, progress=progress)
        for (index, _), result in zip(files, fetched, strict=True):
            results[index] = result
        return results

    def manifest(self, path: str) -> Manifest:
        """Where the blocks of a file are.

        Raises:
            TransferError: there is no such file, …
        """
        return _read(Manifest, self._call("GET", "/files/manifest", params={"path": path}))

    def _incoming(self, path: str, target: Path) -> Incoming:
        return Incoming(self.manifest(path), target, lambda: self.manifest(path))

    def _declare(self, path: str, described: Described) -> Answer:
        return _read(
            Answer, self._call("POST", "/uploads", json={"path": path, **asdict(described)})
        )

    def _call(
        self, method: str, url: str, *, stop: threading.Event | None = None, **request: Any
    ) -> Any:
        """The hub's answer. All these calls may be repeated without harm, so a lost one is."""

        def once() -> Any:
            try:
                response = self.api.request(method, url, **request)
            except httpx.HTTPError as error:
                raise Again(f"the hub does not answer: {type(error).__name__}") from error
            if response.status_code in (429, 502, 503, 504):
                raise Again(f"the hub answered {response.status_code}")
            try:
                body = response.json()
            except ValueError:
                body = {}
            if not response.is_success:
                raise TransferError(_explain(response.status_code, body))
            return body

        return patiently(once, self.mover.patience, Halt(stop))


def _read(model: type[M], body: Any) -> M:
    try:
        return model.model_validate(body)
    except ValidationError as error:
        raise TransferError(f"the hub's answer cannot be understood: {error}") from error


def _explain(status: int, body: Any) -> str:
    """A problem document in one line."""
    if not isinstance(body, dict):
        return f"the hub answered {status}"
    title, detail = str(body.get("title", "")), str(body.get("detail", ""))
    return f"{title}: {detail}".strip(": ") or f"the hub answered {status}"
