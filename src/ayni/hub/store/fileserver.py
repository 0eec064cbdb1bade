"""The file server of the folder store: signed PUT, GET and HEAD of blocks, and nothing else.

An RSGI application for Granian, in a process of its own, so that bulk never waits for the hub's
workers nor they for it. It has no database and no Django: it knows the folder and the secret with
which the hub signs (`signing`). `python -m ayni.hub.store.fileserver --folder … --secret-file …`.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import errno
import json
import logging
import os
import re
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote

from granian._granian import RSGIHTTPProtocol as HTTPProtocol
from granian.http import HTTP1Settings
from granian.rsgi import Scope
from granian.server.embed import Server

from ayni.hub.sockets import allow_open_files
from ayni.hub.store import disk, keys, signing

log = logging.getLogger(__name__)

MAX_BLOCK = 64 << 20
BUFFER = 1 << 20  # bytes gathered before they are hashed and written, by a thread
IDLE = 30.0  # seconds without a byte after which a sender is dropped
SLOWEST = 1024  # bytes a second that a sender must make on the average, after the first IDLE
HEADER_TIMEOUT = 10_000  # milliseconds
AT_ONCE = 4000  # connections; idle ones too, so few would be easy to take up

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
_BINARY = [
    ("content-type", "application/octet-stream"),
    ("x-content-type-options", "nosniff"),
    ("cache-control", "private"),
    ("accept-ranges", "bytes"),
]


class Refusal(Exception):
    """The answer is a problem document (RFC 9457)."""

    def __init__(self, status: int, title: str, detail: str, **headers: str) -> None:
        super().__init__(detail)
        self.status = status
        self.title = title
        self.detail = detail
        self.headers = headers


class FileServer:
    """The application."""

    def __init__(
        self,
        folder: Path,
        secret: bytes,
        *,
        idle: float = IDLE,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._folder = folder
        self._secret = secret
        self._idle = idle
        self._clock = clock

    async def __call__(self, scope: Scope, proto: HTTPProtocol) -> None:
        try:
            await self._answer(scope, proto)
        except Refusal as refusal:
            _refuse(proto, refusal)
        except OSError as error:
            log.error("%s %s: %s", scope.method, scope.path, error)
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            _refuse(
                proto,
                Refusal(507, "The store is full", "try again later; its operator must make room")
                if full
                else Refusal(500, "The store failed", "its operator finds the reason in the log"),
            )

    async def _answer(self, scope: Scope, proto: HTTPProtocol) -> None:
        if scope.path == "/health":
            proto.response_str(200, [("content-type", "text/plain")], "ok\n")
            return
        try:
            path = keys.file_of(self._folder, scope.path.removeprefix("/"))
        except ValueError:
            raise Refusal(404, "Not found", "there is nothing at this address") from None
        key = scope.path.removeprefix("/")
        if scope.method in ("GET", "HEAD"):
            query = self._check("GET", key, scope.query_string)
            _send(scope, proto, path, query.get("name", ""))
        elif scope.method == "PUT":
            query = self._check("PUT", key, scope.query_string)
            await self._receive(scope, proto, path, int(query["size"]), query["sha256"])
        else:
            raise Refusal(405, "Method not allowed", "GET, HEAD or PUT", allow="GET, HEAD, PUT")

    def _check(self, method: str, key: str, query_string: str) -> dict[str, str]:
        try:
            query = dict(parse_qsl(query_string, keep_blank_values=True, max_num_fields=8))
            signing.check(self._secret, method, key, query, self._clock())
        except signing.Expired:
            raise Refusal(
                403, "Too late", "this URL has expired; ask the hub for a new one"
            ) from None
        except (ValueError, signing.BadSignature):
            raise Refusal(
                403, "Not signed", "this URL was not signed by the hub for this"
            ) from None
        return query

    async def _receive(
        self, scope: Scope, proto: HTTPProtocol, path: Path, size: int, sha256: str
    ) -> None:
        declared = scope.headers.get("content-length")
        if size > MAX_BLOCK or (declared is not None and declared != str(size)):
            raise Refusal(
                413 if size > MAX_BLOCK else 400,
                "Wrong size",
                f"this URL takes {size} bytes, at most {MAX_BLOCK}; {declared} were announced",
            )
        if path.exists():  # put before: the signature says that it was these bytes
            proto.response_empty(200, [])
            return
        with ExitStack() as stack:
            incoming = await asyncio.to_thread(disk.Incoming, self._folder, size, sha256)
            stack.enter_context(incoming)
            try:
                rest = await self._pour(proto, incoming, size)
                await asyncio.to_thread(_finish, incoming, rest, path)
            except disk.WrongBytes as error:
                raise Refusal(422, "Wrong bytes", f"{error}; send the block again") from error
        proto.response_empty(201, [])

    async def _pour(self, proto: HTTPProtocol, incoming: disk.Incoming, size: int) -> bytearray:
        """Write what arrives; the last part, at most a buffer, is returned unwritten."""
        chunks = aiter(proto)
        buffer, got = bytearray(), 0
        started = self._clock()
        while True:
            try:
                chunk: bytes = await asyncio.wait_for(anext(chunks), self._idle)
            except StopAsyncIteration:
                return buffer
            except TimeoutError:
                raise Refusal(408, "Too slow", f"no byte came for {self._idle:g} s") from None
            got += len(chunk)
            if got > size:
                raise disk.WrongBytes(f"more than {size} bytes arrived")
            if got < (self._clock() - started - self._idle) * SLOWEST:
                raise Refusal(408, "Too slow", f"send at least {SLOWEST} bytes a second")
            buffer += chunk
            if len(buffer) >= BUFFER:
                full, buffer = buffer, bytearray()
                await asyncio.to_thread(incoming.write, full)


def _finish(incoming: disk.Incoming, rest: bytearray, path: Path) -> None:
    incoming.write(rest)
    incoming.keep(path)


def disposition(name: str) -> str:
    """Saved, never shown; under `name`, which anybody may choose since it is not signed (RFC 6266)."""
    return f"attachment; filename*=UTF-8''{quote(name[:255], safe='')}" if name else "attachment"


def _send(scope: Scope, proto: HTTPProtocol, path: Path, name: str) -> None:
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        raise Refusal(404, "Not found", "there is no such block; ask the hub anew") from None
    binary = [*_BINARY, ("content-disposition", disposition(name))]
    wanted = _range(scope.headers.get("range"), size)
    if wanted is None:
        headers = [*binary, ("content-length", str(size))]
        if scope.method == "HEAD":
            proto.response_empty(200, headers)
        else:
            proto.response_file(200, headers, str(path))
        return
    start, end = wanted
    headers = [
        *binary,
        ("content-length", str(end - start)),
        ("content-range", f"bytes {start}-{end - 1}/{size}"),
    ]
    if scope.method == "HEAD":
        proto.response_empty(206, headers)
    else:
        proto.response_file_range(206, headers, str(path), start, end)


def _range(header: str | None, size: int) -> tuple[int, int] | None:
    """The bytes wanted, end excluded; None for all, also where the header makes no sense (RFC 9110)."""
    match = _RANGE.fullmatch((header or "").replace(" ", ""))
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:
        start, end = max(0, size - int(last)), size
    else:
        start, end = int(first), min(int(last) + 1 if last else size, size)
        if last and int(last) < int(first):
            return None
    if start >= size or end <= start:
        raise Refusal(
            416,
            "No such range",
            f"the block has {size} bytes",
            **{"content-range": f"bytes */{size}"},
        )
    return start, end


def _refuse(proto: HTTPProtocol, refusal: Refusal) -> None:
    body = {
        "type": "about:blank",
        "title": refusal.title,
        "status": refusal.status,
        "detail": refusal.detail,
    }
    headers = [
        ("content-type", "application/problem+json"),
        ("connection", "close"),  # what was not read of a body is not waited for
        *refusal.headers.items(),
    ]
    proto.response_str(refusal.status, headers, json.dumps(body))


def _is_news(record: logging.LogRecord) -> bool:
    """Not what Granian says at every start of a server inside a program, which ours is on purpose."""
    return record.msg != "Embedded server is experimental!"


async def serve(app: FileServer, host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT."""
    logging.getLogger("_granian").addFilter(_is_news)
    server = Server(
        app,
        address=host,
        port=port,
        backpressure=AT_ONCE,
        websockets=False,
        http1_settings=HTTP1Settings(header_read_timeout=HEADER_TIMEOUT),
    )
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.stop)
    await server.serve()


def _die_with(parent: int) -> None:
    """Have the kernel end this process when its parent is killed (Linux, PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:  # it died before that
        sys.exit(1)


def _free(host: str, port: int) -> None:
    """Granian would share a taken port in silence; so it is tried first.

    Raises:
        OSError: somebody listens there.
    """
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(address)


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="ayni.hub.store.fileserver", description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="where the blocks lie")
    parser.add_argument("--secret-file", type=Path, required=True, help="what the hub signs with")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8081)
    parser.add_argument("--parent", type=int, help="end when this parent process is killed")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """0 after a wished end, 2 with one line for what the operator must mend."""
    given: Any = _arguments(argv)
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    if given.parent is not None:
        _die_with(given.parent)
    try:
        secret = given.secret_file.read_bytes().strip()
        if len(secret) < 16:
            raise OSError(f"{given.secret_file} holds no secret of at least 16 bytes")
        folder = given.folder.resolve()
        disk.prepare(folder)
        disk.clear_incoming(folder)
        _free(given.host, given.port)
    except OSError as error:
        print(f"file server: {error}", file=sys.stderr)
        return 2
    allow_open_files(2 * AT_ONCE + 100)  # a socket and a block to a connection
    asyncio.run(serve(FileServer(folder, secret), given.host, given.port))
    return 0


if __name__ == "__main__":
    _code = main()
    logging.shutdown()
    os._exit(_code)  # Python would tear down Granian's threads, which aborts the process at times
