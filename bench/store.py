"""Megabytes a second through the file server, up and down, against bare copies on the same machine.

    python bench/store.py [--mib N] [--workers N] [--folder DIR]

The bare copy sends the same bytes through a loopback socket into a file, with one fsync at the end: no
HTTP, no hashing. Upload hashes every byte three times (whole, block, and by the server) and syncs every
block; download hashes twice. Prints MB/s and the ratio to the bare copy.
"""

from __future__ import annotations

import argparse
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx

from ayni.hub.store import signing
from ayni.transfer import Answer, Described, Incoming, Manifest, Mover
from ayni.transfer.blocks import block_length
from ayni.transfer.wire import Block, MissingBlock

SECRET = b"a secret for the bench of the store"
CHUNK = 1 << 20


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def start_server(state: Path, port: int) -> subprocess.Popen[bytes]:
    secret = state / "secret"
    secret.write_bytes(SECRET)
    command = [sys.executable, "-m", "ayni.hub.store.fileserver", "--folder", str(state / "store")]
    command += ["--secret-file", str(secret), "--port", str(port), "--parent", str(os.getpid())]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while True:
        try:
            httpx.get(f"http://127.0.0.1:{port}/health")
        except httpx.TransportError:
            assert process.poll() is None, "the file server ended"
            time.sleep(0.05)
        else:
            return process


def bare_copy(source: Path, target: Path) -> None:
    """The bytes of `source` through a loopback socket into `target`."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        sender = threading.Thread(target=_send, args=(listener.getsockname(), source))
        sender.start()
        connection, _ = listener.accept()
        with connection, target.open("wb") as file:
            buffer = bytearray(CHUNK)
            while got := connection.recv_into(buffer):
                file.write(memoryview(buffer)[:got])
            file.flush()
            os.fsync(file.fileno())
        sender.join()


def _send(address: tuple[str, int], source: Path) -> None:
    with socket.create_connection(address) as connection, source.open("rb") as file:
        connection.sendfile(file)


class Hub:
    """Signs URLs, as the hub does."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._upload = secrets.token_hex(16)
        self._sent = False

    def _key(self, n: int) -> str:
        return f"1/{self._upload}/{n}"

    def declare(self, d: Described) -> Answer:
        if self._sent:
            return Answer(upload=self._upload, ready=True)
        self._sent = True
        until = int(time.time()) + 3600
        missing = []
        for n, sha256 in enumerate(d.blocks):
            size = block_length(n, d.size, d.block_size)
            query = signing.put_query(SECRET, self._key(n), size, sha256, until)
            missing.append(MissingBlock(n=n, url=f"{self._url}/{self._key(n)}?{query}"))
        return Answer(upload=self._upload, missing=missing)

    def manifest(self, d: Described) -> Manifest:
        until = int(time.time()) + 3600
        blocks = [
            Block(
                n=n,
                size=block_length(n, d.size, d.block_size),
                sha256=sha256,
                url=f"{self._url}/{self._key(n)}?{signing.get_query(SECRET, self._key(n), until)}",
            )
            for n, sha256 in enumerate(d.blocks)
        ]
        return Manifest(size=d.size, sha256=d.sha256, block_size=d.block_size, blocks=blocks)


def seconds(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def measure(folder: Path, mib: int, workers: int) -> dict[str, float]:
    """MB/s of each way; the best of two runs."""
    source = folder / "source"
    with source.open("wb") as file:
        for _ in range(mib):
            file.write(secrets.token_bytes(1 << 20))
    best: dict[str, float] = {}
    port = free_port()
    server = start_server(folder, port)
    try:
        with Mover(workers=workers) as mover:
            for _ in range(2):
                for name, took in one_run(mover, f"http://127.0.0.1:{port}", source).items():
                    best[name] = max(best.get(name, 0.0), (mib << 20) / 1e6 / took)
    finally:
        server.terminate()
        server.wait()
    return best


def one_run(mover: Mover, url: str, source: Path) -> dict[str, float]:
    """Seconds of each way."""
    target, hub = source.with_name("target"), Hub(url)
    bare = seconds(lambda: bare_copy(source, source.with_name("bare")))
    started = time.perf_counter()
    described = mover.describe(source)
    hashed = time.perf_counter()
    mover.send(source, described, lambda: hub.declare(described))
    sent = time.perf_counter()
    down = seconds(lambda: mover.fetch(Incoming(hub.manifest(described), target)))
    target.unlink()
    return {
        "bare copy": bare,
        "hashing": hashed - started,
        "upload (hashed before)": sent - hashed,
        "upload (with hashing)": sent - started,
        "download": down,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=512)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--folder", type=Path, help="where to work (default: a temporary folder)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        rates = measure(Path(folder), options.mib, options.workers)
    for name, rate in rates.items():
        print(f"= store, {name}: {rate:.0f} MB/s, {rate / rates['bare copy']:.2f} of a bare copy")


if __name__ == "__main__":
    main()
