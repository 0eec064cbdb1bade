"""Fetching: blocks in parallel into a `.part` file, verified, then renamed."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, wait
from dataclasses import dataclass
from pathlib import Path

import httpx

from ayni.transfer.errors import Again, ExpiredUrl, TransferError
from ayni.transfer.halt import Halt
from ayni.transfer.http import Patience, judge, passing, patiently
from ayni.transfer.part import Part
from ayni.transfer.send import FRUITLESS, Progress
from ayni.transfer.wire import Block, Manifest


@dataclass(frozen=True, slots=True)
class Incoming:
    """A committed file to be put at `target`. `refresh` asks the hub for fresh URLs."""

    manifest: Manifest
    target: Path
    refresh: Callable[[], Manifest] | None = None


@dataclass(frozen=True, slots=True)
class Fetcher:
    """What all fetches of one call share. `pool` None: blocks one after another, in this thread."""

    http: httpx.Client
    pool: Executor | None
    patience: Patience
    halt: Halt
    progress: Progress

    def fetch(self, file: Incoming) -> None:
        """Bring one file.

        Raises:
            TransferError: it could not be brought; what arrived is kept for the next time.
            Stopped: likewise.
        """
        try:
            with Part(file.target, file.manifest) as part:
                self.progress(sum(file.manifest.blocks[n].size for n in part.done))
                # Hashing takes longer than all else: a file is hashed once, as a whole, and its blocks
                # only if that is wrong. Of a single block both are the same, and done on arrival.
                surely = not part.done and [b.sha256 for b in file.manifest.blocks] == [
                    file.manifest.sha256
                ]
                self._fill(file, part, check=surely)
                if not surely and part.digest(self.halt) != file.manifest.sha256:
                    self._mend(file, part)
                part.finish()
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            raise TransferError(
                f"cannot write {file.target}: {error.strerror or error}",
                code="disk",
                retryable=full,
            ) from error

    def _mend(self, file: Incoming, part: Part) -> None:
        part.recheck(self.halt)
        self._fill(file, part, check=True)
        if part.digest(self.halt) != file.manifest.sha256:
            raise TransferError(
                f"{file.manifest.path or file.target.name} does not have the SHA-256 it was "
                "declared with; whoever wrote it must write it again",
                code="corrupt",
            )

    def _fill(self, file: Incoming, part: Part, *, check: bool) -> None:
        """Fetch all blocks that have not arrived; fresh URLs when they grow old.

        `check`: hash each, and fetch it again if it is damaged.
        """
        manifest, refused = file.manifest, 0
        while missing := [block for block in manifest.blocks if block.n not in part.done]:
            before = len(part.done)
            if self._blocks(manifest, missing, part, check):
                continue
            refused = 0 if len(part.done) > before else refused + 1
            if refused >= FRUITLESS:
                raise TransferError(
                    f"{file.target.name}: the store refuses fresh signed URLs; "
                    "check this machine's clock and that no proxy alters addresses"
                )
            manifest = self._renewed(file)

    def _renewed(self, file: Incoming) -> Manifest:
        if file.refresh is None:
            raise TransferError(
                f"{file.target.name}: the signed URLs are too old", code="expired", retryable=True
            )
        fresh = file.refresh()
        if fresh.sha256 != file.manifest.sha256 or fresh.block_size != file.manifest.block_size:
            raise TransferError(
                f"{file.target.name} was replaced meanwhile; fetch it again", code="changed"
            )
        return fresh

    def _blocks(
        self, manifest: Manifest, missing: Sequence[Block], part: Part, check: bool
    ) -> bool:
        """Whether all could be fetched; False when URLs have expired."""
        if self.pool is None or len(missing) == 1:
            try:
                for block in missing:
                    self._block(manifest, block, part, check)
            except ExpiredUrl:
                return False
            return True
        jobs = [self.pool.submit(self._block, manifest, block, part, check) for block in missing]
        try:
            results = [_went_well(job) for job in jobs]
        except BaseException:
            self.halt.set()
            for job in jobs:
                job.cancel()
            wait(jobs)  # they write to the part's descriptor, which is about to be closed
            raise
        return all(results)

    def _block(self, manifest: Manifest, block: Block, part: Part, check: bool) -> None:
        doing = f"fetching {manifest.path or part.target.name}"
        hasher = hashlib.sha256()
        got = 0

        def forget() -> None:
            nonlocal hasher, got
            self.progress(-got)
            hasher, got = hashlib.sha256(), 0

        def once() -> None:
            nonlocal got
            self.halt.check()
            headers = {"Range": f"bytes={got}-{block.size - 1}"} if got else {}
            try:
                with self.http.stream("GET", block.url, headers=headers) as response:
                    if response.status_code == 404:
                        raise ExpiredUrl  # perhaps replaced: the hub knows
                    judge(response, doing)
                    if got and response.status_code != 206:
                        forget()
                    for chunk in response.iter_bytes():
                        self.halt.check()
                        if got + len(chunk) > block.size:
                            break
                        _write(part.fd, chunk, block.n * manifest.block_size + got)
                        if check:
                            hasher.update(chunk)
                        got += len(chunk)
                        self.progress(len(chunk))
            except httpx.HTTPError as error:
                raise passing(error, doing) from error
            if got < block.size:
                raise Again(f"{doing}: the store sent less than it has")
            if check and hasher.hexdigest() != block.sha256:
                forget()
                raise Again(f"{doing}: block {block.n} arrived damaged")

        try:
            patiently(once, self.patience, self.halt)
        except BaseException:
            forget()
            raise
        part.note(block.n)


def _write(fd: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, offset)
        view, offset = view[written:], offset + written


def _went_well(job: Future[None]) -> bool:
    try:
        job.result()
    except ExpiredUrl:
        return False
    return True
