"""The one object that moves bytes: it holds the threads and the connections."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from ayni.transfer.blocks import Described, Opener, describe, opener
from ayni.transfer.errors import TransferError
from ayni.transfer.fetch import Fetcher, Incoming
from ayni.transfer.halt import Halt
from ayni.transfer.http import Patience, client
from ayni.transfer.send import Ask, Outgoing, Progress, send_all
from ayni.transfer.wire import Answer


def silent(moved: int) -> None:
    """No progress wanted."""


class Mover:
    """Moves files, `workers` blocks at a time, with about a MiB of memory each. Thread-safe.

    An agent keeps one for its whole life; a command makes one for its errand (`with Mover() as …`).
    Every call takes `stop`, an event of the caller's that ends it with `Stopped`, and `progress`,
    which is called from several threads with the bytes that moved.
    """

    def __init__(
        self,
        http: httpx.Client | None = None,
        *,
        workers: int = 4,
        ca: Path | None = None,
        patience: Patience | None = None,
    ) -> None:
        self._own = http is None
        self.http = http or client(ca, connections=2 * workers)
        self.patience = patience or Patience()
        self._blocks = ThreadPoolExecutor(workers, thread_name_prefix="ayni-block")
        self._files = ThreadPoolExecutor(workers, thread_name_prefix="ayni-file")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Wait for what is under way and let connections and threads go."""
        self._files.shutdown(cancel_futures=True)
        self._blocks.shutdown(cancel_futures=True)
        if self._own:
            self.http.close()

    def describe(
        self,
        source: Path | Opener,
        *,
        block_size: int | None = None,
        stop: threading.Event | None = None,
    ) -> Described:
        """Hash a file; see `blocks.describe`."""
        return describe(source, block_size=block_size, halt=Halt(stop))

    def send_many(
        self,
        files: Sequence[Outgoing],
        ask: Ask,
        *,
        stop: threading.Event | None = None,
        progress: Progress = silent,
    ) -> list[str | TransferError]:
        """Send described files; `ask` declares some of them to the hub, again and again.

        Returns:
            For each file, in order, the upload's id (ready to be committed) or why it failed.

        Raises:
            Stopped: `stop` was set. What arrived is kept by the store: declaring again resumes.
        """
        return send_all(
            files,
            ask,
            http=self.http,
            pool=self._blocks,
            patience=self.patience,
            halt=Halt(stop),
            progress=progress,
        )

    def send(
        self,
        source: Path | Opener,
        described: Described,
        ask: Callable[[], Answer],
        *,
        name: str = "",
        stop: threading.Event | None = None,
        progress: Progress = silent,
    ) -> str:
        """Send one file; the upload's id.

        Raises:
            TransferError, Stopped: as in `send_many`.
        """
        label = name or (source.name if isinstance(source, Path) else "the file")
        file = Outgoing(opener(source), described, label)
        [result] = self.send_many([file], lambda _: [ask()], stop=stop, progress=progress)
        if isinstance(result, TransferError):
            raise result
        return result

    def fetch(
        self,
        file: Incoming,
        *,
        stop: threading.Event | None = None,
        progress: Progress = silent,
    ) -> None:
        """Bring one file to its target, where it appears whole or not at all.

        Raises:
            TransferError: why not; what arrived is kept beside the target.
            Stopped: `stop` was set; likewise.
        """
        self._fetcher(Halt(stop), progress).fetch(file)

    def fetch_many(
        self,
        files: Sequence[Incoming],
        *,
        stop: threading.Event | None = None,
        progress: Progress = silent,
    ) -> list[TransferError | None]:
        """Bring many files, several at a time; for each, in order, None or why it failed.

        Raises:
            Stopped: `stop` was set.
        """
        halt = Halt(stop)

        def one(file: Incoming) -> TransferError | None:
            halt.check()
            try:
                self._fetcher(Halt(halt), progress).fetch(file)
            except TransferError as error:
                return error
            return None

        jobs = [self._files.submit(one, file) for file in files]
        try:
            return [job.result() for job in jobs]
        except BaseException:
            halt.set()
            for job in jobs:
                job.cancel()
            wait(jobs)
            raise

    def _fetcher(self, halt: Halt, progress: Progress) -> Fetcher:
        return Fetcher(self.http, self._blocks, self.patience, halt, progress)
