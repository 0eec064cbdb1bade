"""A real file server in a process of its own, for tests of the store and of transfers."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from ayni.hub.store import signing

WEB = httpx.Client()  # one, since making a client reads all certificates

SECRET = "a secret for tests of the store, long enough"


@dataclass(frozen=True)
class RunningServer:
    folder: Path
    url: str

    def put_url(self, key: str, size: int, sha256: str, seconds: int = 60) -> str:
        until = int(time.time()) + seconds
        return f"{self.url}/{key}?{signing.put_query(SECRET.encode(), key, size, sha256, until)}"

    def get_url(self, key: str, seconds: int = 60) -> str:
        until = int(time.time()) + seconds
        return f"{self.url}/{key}?{signing.get_query(SECRET.encode(), key, until)}"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def running(state: Path) -> Iterator[RunningServer]:
    """A server over `state/store`; it is gone when the context is left."""
    secret = state / "secret"
    secret.write_text(SECRET)
    folder, port = state / "store", free_port()
    arguments = ["--folder", folder, "--secret-file", secret, "--port", port]
    process = subprocess.Popen(
        [sys.executable, "-m", "ayni.hub.store.fileserver", *map(str, arguments)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        url = f"http://127.0.0.1:{port}"
        _wait(process, url)
        yield RunningServer(folder, url)
    finally:
        process.terminate()
        process.wait(10)


def _wait(process: subprocess.Popen[bytes], url: str) -> None:
    for _ in range(400):
        try:
            WEB.get(f"{url}/health")
        except httpx.TransportError:
            assert process.poll() is None, "the file server ended"
            time.sleep(0.05)
        else:
            return
    raise AssertionError("the file server does not answer")
