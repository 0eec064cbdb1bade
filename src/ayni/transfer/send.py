"""Sending: rounds of declaring and putting what is missing, until the hub calls it ready."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field

import httpx

from ayni.transfer.blocks import CHUNK, Described, Opener, block_length
from ayni.transfer.errors import ExpiredUrl, TransferError
from ayni.transfer.halt import Halt
from ayni.transfer.http import Patience, judge, passing, patiently
from ayni.transfer.wire import Answer, MissingBlock

#: Called from several threads with the bytes that moved; negative when they must move again.
Progress = Callable[[int], None]

BATCH = 200  # files in one question to the hub
FRUITLESS = 4  # times that a block may be missing again, or a fresh URL be refused
VERIFYING_PAUSE = 0.5  # seconds between questions while the store verifies


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A described file. `name` is for messages."""

    open: Opener
    described: Described
    name: str


#: Declares files to the hub; an answer or an error for each, in order.
Ask = Callable[[Sequence[Outgoing]], Sequence[Answer | TransferError]]


@dataclass(slots=True)
class _Sending:
    file: Outgoing
    put: Counter[int] = field(default_factory=Counter)  # how often each block went well
    refused: int = 0  # signed URLs refused since a block went well
    result: str | TransferError | None = None

    def hear(self, answer: Answer | TransferError) -> list[MissingBlock]:
        """The blocks to send now; none if it is settled, well or badly."""
        if isinstance(answer, TransferError):
            self.result = answer
        elif answer.ready:
            self.result = answer.upload
        elif any(self.put[block.n] >= FRUITLESS for block in answer.missing):
            self.result = TransferError(
                f"{self.file.name}: the store does not keep what was sent; "
                "either the file changed meanwhile or the store is damaged",
                code="changed",
            )
        elif self.refused >= FRUITLESS * max(1, len(answer.missing)):
            self.result = TransferError(
                f"{self.file.name}: the store refuses fresh signed URLs; "
                "check this machine's clock and that no proxy alters addresses"
            )
        else:
            return answer.missing
        return []

    def take(self, n: int, job: Future[None]) -> None:
        """Wait for block `n`."""
        try:
            job.result()
        except ExpiredUrl:
            self.refused += 1
        except TransferError as error:
            self.result = error
        else:
            self.put[n] += 1
            self.refused = 0


def send_all(
    files: Sequence[Outgoing],
    ask: Ask,
    *,
    http: httpx.Client,
    pool: Executor,
    patience: Patience,
    halt: Halt,
    progress: Progress,
) -> list[str | TransferError]:
    """For each file the upload's id, ready to be committed, or why it could not be sent."""
    sendings = [_Sending(file) for file in files]

    def put(sending: _Sending, n: int, url: str) -> Future[None]:
        return pool.submit(_put, http, url, sending.file, n, patience, halt, progress)

    while unsettled := [s for s in sendings if s.result is None][:BATCH]:
        halt.check()
        answers = ask([s.file for s in unsettled])
        missing = [
            (sending, block)
            for sending, answer in zip(unsettled, answers, strict=True)
            for block in sending.hear(answer)
        ]
        jobs = [(sending, block.n, put(sending, block.n, block.url)) for sending, block in missing]
        try:
            for sending, n, job in jobs:
                sending.take(n, job)
        except BaseException:
            halt.set()
            for _, _, job in jobs:
                job.cancel()
            raise
        if not jobs and any(s.result is None for s in unsettled):
            halt.sleep(VERIFYING_PAUSE)
    return [s.result for s in sendings if s.result is not None]


def _put(
    http: httpx.Client,
    url: str,
    file: Outgoing,
    n: int,
    patience: Patience,
    halt: Halt,
    progress: Progress,
) -> None:
    described = file.described
    size = block_length(n, described.size, described.block_size)
    if size <= 0:
        raise TransferError(f"{file.name}: the hub asks for block {n}, which it does not have")
    doing = f"sending {file.name}"

    def once() -> None:
        sent = 0

        def body() -> Iterator[bytes]:
            nonlocal sent
            with file.open() as source:
                source.seek(n * described.block_size)
                while sent < size:
                    halt.check()
                    chunk = source.read(min(CHUNK, size - sent))
                    if not chunk:
                        raise TransferError(f"{file.name} became shorter meanwhile", code="changed")
                    sent += len(chunk)
                    progress(len(chunk))
                    yield chunk

        try:
            response = http.put(url, content=body(), headers={"Content-Length": str(size)})
            judge(response, doing)
        except BaseException as error:
            progress(-sent)
            if isinstance(error, httpx.HTTPError):
                raise passing(error, doing) from error
            if isinstance(error, OSError):
                raise TransferError(f"cannot read {file.name}: {error}", code="disk") from error
            raise

    patiently(once, patience, halt)
