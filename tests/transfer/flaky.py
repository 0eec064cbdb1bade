"""A network that fails as it is told to."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx

from ayni.transfer import Mover
from tests.transfer.conftest import QUICK

#: Given a request and how many came before it: an answer, an exception to raise, or None (pass it on).
Fault = Callable[[httpx.Request, int], httpx.Response | Exception | None]


def content(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


class Flaky(httpx.BaseTransport):
    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self.requests: list[httpx.Request] = []
        self._real = httpx.HTTPTransport()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        number = len(self.requests)
        self.requests.append(request)
        outcome = self.fault(request, number)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome or self._real.handle_request(request)

    def close(self) -> None:
        self._real.close()


@contextmanager
def flaky_mover(fault: Fault, workers: int = 1) -> Iterator[tuple[Mover, Flaky]]:
    transport = Flaky(fault)
    with (
        httpx.Client(transport=transport) as http,
        Mover(http, workers=workers, patience=QUICK) as mover,
    ):
        yield mover, transport


class CutShort(httpx.SyncByteStream):
    """A body that ends with a lost connection."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def __iter__(self) -> Iterator[bytes]:
        yield self._data
        raise httpx.ReadError("connection lost")
