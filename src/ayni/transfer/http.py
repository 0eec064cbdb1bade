"""HTTP towards the store: proxies and private CAs honoured, passing failures tried again."""

from __future__ import annotations

import logging
import random
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import httpx

from ayni.transfer.errors import Again, ExpiredUrl, TransferError
from ayni.transfer.halt import Halt

# httpx tells every address in its log, and the signature in a signed one is a secret.
logging.getLogger("httpx").setLevel(logging.WARNING)

T = TypeVar("T")
TIMEOUT = httpx.Timeout(60.0, connect=15.0)  # seconds without a byte, not for a whole transfer
PASSING = frozenset({408, 425, 429, 500, 502, 503, 504, 507})


@dataclass(frozen=True, slots=True)
class Patience:
    """How often a passing failure is tried again; pauses in seconds, doubling."""

    tries: int = 6
    first: float = 0.5
    longest: float = 20.0


def client(ca: Path | None = None, connections: int = 16) -> httpx.Client:
    """A client for signed URLs. It carries no token: a signed URL is all that the store needs.

    `HTTPS_PROXY`, `NO_PROXY` and `SSL_CERT_FILE` are honoured; `ca` is one more file of
    certificates to trust.
    """
    return httpx.Client(
        verify=trust(ca),
        timeout=TIMEOUT,
        limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
        headers={"User-Agent": "ayni", "Accept-Encoding": "identity"},
        follow_redirects=False,
    )


def trust(ca: Path | None = None) -> ssl.SSLContext:
    """Certificates to trust: the system's, those of `SSL_CERT_FILE`, and `ca`.

    Raises:
        TransferError: `ca` cannot be used.
    """
    context = httpx.create_ssl_context()
    context.load_default_certs()
    if ca is not None:
        try:
            context.load_verify_locations(cafile=ca)
        except (OSError, ssl.SSLError) as error:
            raise TransferError(f"{ca} holds no usable certificates: {error}") from error
    return context


def patiently(action: Callable[[], T], patience: Patience, halt: Halt) -> T:
    """What `action` returns; it is tried again while it raises `Again`.

    Raises:
        TransferError: retryable, after the last try.
        Stopped: `halt` says so.
    """
    pause = patience.first
    for rest in range(patience.tries - 1, -1, -1):
        halt.check()
        try:
            return action()
        except Again as failure:
            if not rest:
                raise TransferError(str(failure), code="network", retryable=True) from failure
            wait = pause * random.uniform(0.5, 1.0) if failure.after is None else failure.after  # noqa: S311
            halt.sleep(min(wait, patience.longest))
            pause *= 2
    raise AssertionError("unreachable")


def judge(response: httpx.Response, doing: str) -> None:
    """Nothing if the store did what it was asked for.

    Raises:
        ExpiredUrl: 403; the URL is too old.
        Again: a passing failure.
        TransferError: it will not go well by trying again.
    """
    status = response.status_code
    if response.is_success:
        return
    if status == 403:
        raise ExpiredUrl
    if status in PASSING:
        why = "is full; its operator must make room" if status == 507 else f"answered {status}"
        raise Again(f"{doing}: the store {why}", _retry_after(response))
    if status in (409, 412, 422):
        raise TransferError(f"{doing}: the file changed while it was sent", code="changed")
    raise TransferError(f"{doing}: the store answered {status}")


def _retry_after(response: httpx.Response) -> float | None:
    text = response.headers.get("Retry-After", "")
    return float(text) if text.isascii() and text.isdigit() else None


def passing(error: httpx.HTTPError, doing: str) -> Again:
    """A failure of the network; the URL is left out, since its signature is a secret."""
    return Again(f"{doing}: {type(error).__name__} talking to the store")
