"""What Granian calls: requests are gathered here, on an event loop, before a thread sees them.

A sender holds a connection for as long as it sends, and never a thread: some hundred slow ones
would otherwise keep everybody out. Each body has a clock that stops who is too slow. A stranger's is
small; who sends a large one has shown a token before its first byte is read.
"""

from __future__ import annotations

import asyncio
import logging
import os
import queue
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from typing import Any, TypeVar

from django.db import close_old_connections
from granian._granian import RSGIHTTPProtocol as HTTPProtocol
from granian.rsgi import Scope

from ayni.hub.accounts.tokens import holder
from ayni.hub.http import PROGRAM_PATHS, ProblemError

log = logging.getLogger(__name__)

T = TypeVar("T")
Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Any]

SMALL = 64 << 10  # bytes that anybody may send
LARGEST = 32 << 20  # bytes: an array of 100,000 parameters fits
PATIENCE = 30.0  # seconds in which a body must have come …
SLOWEST = 8 << 10  # … and one more for each of so many bytes
MOST_LARGE = 8  # large bodies of one token at once
_AGAIN = 5  # seconds


class Front:
    """The application.

    Args:
        wsgi: what answers, in a thread. All of an answer is in memory before it goes out.
        threads: how many of these there are at most.
    """

    def __init__(self, wsgi: Wsgi, threads: int, patience: float = PATIENCE) -> None:
        self._wsgi = wsgi
        self._crew = Crew(threads)
        self._patience = patience
        self._large: Counter[str] = Counter()  # bodies that are in memory now, by token

    async def __rsgi__(self, scope: Scope, proto: HTTPProtocol) -> None:
        try:
            declared = _declared(scope)
            if declared == 0:
                await self._crew.do(lambda: self._answer(scope, proto, b""))
            elif declared is not None and declared <= SMALL:
                body = await self._gather(proto, declared, SMALL)
                await self._crew.do(lambda: self._answer(scope, proto, body))
            else:
                await self._take_large(scope, proto, declared)
        except ProblemError as error:
            _refuse(proto, error)
        except Exception:
            log.exception("%s %s failed", scope.method, scope.path)
            _refuse(proto, ProblemError(500, "The hub failed", "this is the hub's fault"))

    def __rsgi_del__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Granian serves no more: leave at once.

        Python would first tear down threads that still work or wait, and abort the process where
        one of them is within compiled code. What they had not committed is as after a crash: undone.
        """
        logging.shutdown()
        os._exit(0)

    async def _take_large(self, scope: Scope, proto: HTTPProtocol, declared: int | None) -> None:
        """A body that is large, or may be: nobody said how long it is."""
        if declared is not None and declared > LARGEST:
            raise _too_large(LARGEST)
        if not scope.path.startswith(PROGRAM_PATHS):
            raise _too_large(SMALL)
        header = scope.headers.get("authorization", "")
        if declared is None and not header:
            raise ProblemError(411, "Length required", "say by 'Content-Length' how much comes")
        token = await self._crew.do(lambda: _token(header))
        with self._seat(token):
            body = await self._gather(proto, declared, LARGEST)
            await self._crew.do(lambda: self._answer(scope, proto, body))

    @contextmanager
    def _seat(self, token: str) -> Iterator[None]:
        if self._large[token] >= MOST_LARGE:
            raise ProblemError(
                429,
                "Too many large requests",
                f"the token has {MOST_LARGE} on their way already; ask again in {_AGAIN} s",
                headers={"Retry-After": str(_AGAIN)},
            )
        self._large[token] += 1
        try:
            yield
        finally:
            self._large[token] -= 1
            if not self._large[token]:
                del self._large[token]

    async def _gather(self, proto: HTTPProtocol, declared: int | None, limit: int) -> bytes:
        loop = asyncio.get_running_loop()
        started = loop.time()
        body = bytearray()
        try:
            async with asyncio.timeout_at(started + self._patience) as clock:
                async for chunk in proto:
                    body += chunk
                    if len(body) > limit:
                        raise _too_large(limit)
                    if len(body) == declared:
                        break
                    clock.reschedule(started + self._patience + len(body) / SLOWEST)
        except TimeoutError:
            raise ProblemError(
                408, "Too slow", f"the body must come at {SLOWEST} bytes a second, or faster"
            ) from None
        if declared is not None and len(body) < declared:
            raise ProblemError(400, "The request cannot be read", "its body ended too early")
        return bytes(body)

    def _answer(self, scope: Scope, proto: HTTPProtocol, body: bytes) -> None:
        """Called in a thread, which sends the answer too."""
        told: list[Any] = []
        response = self._wsgi(_environ(scope, body), lambda *words: told.extend(words))
        try:
            content = b"".join(response)
        finally:
            response.close()
        proto.response_bytes(int(told[0][:3]), told[1], content)


class Crew:
    """Threads that are made when they are needed, and that end with the process, busy or not."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._count = 0
        self._idle = threading.Semaphore(0)
        self._work: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()

    async def do(self, work: Callable[[], T]) -> T:
        """Have a thread do it. To be called on one event loop only."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()

        def act() -> None:
            result: T | None
            error: BaseException | None
            try:
                result, error = work(), None
            except BaseException as raised:
                result, error = None, raised
            self._idle.release()  # before it is told: who goes on then finds this thread
            with suppress(RuntimeError):  # the loop is closed: nobody waits for this any more
                loop.call_soon_threadsafe(_settle, done, result, error)

        self._work.put(act)
        if not self._idle.acquire(blocking=False) and self._count < self._most:
            self._count += 1
            name = f"hub-{self._count}"
            threading.Thread(target=self._toil, name=name, daemon=True).start()
        return await done

    def _toil(self) -> None:
        while True:
            self._work.get()()


def _settle(done: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if done.cancelled():
        return
    if error is None:
        done.set_result(result)
    else:
        done.set_exception(error)


def _declared(scope: Scope) -> int | None:
    """How long the body is said to be; None if it comes in chunks."""
    if "transfer-encoding" in scope.headers:
        return None
    text = scope.headers.get("content-length", "0")
    if not (text.isascii() and text.isdigit()):
        raise ProblemError(400, "The request cannot be read", "Content-Length is not a number")
    return int(text)


def _token(header: str) -> str:
    close_old_connections()
    try:
        return holder(header).digest
    finally:
        close_old_connections()


def _too_large(limit: int) -> ProblemError:
    return ProblemError(413, "Too much", f"the body may hold at most {limit} bytes")


def _refuse(proto: HTTPProtocol, error: ProblemError) -> None:
    response = error.response()
    headers = [*response.items(), ("Connection", "close")]  # the rest of the body is not waited for
    proto.response_bytes(response.status_code, headers, response.content)


def _environ(scope: Scope, body: bytes) -> dict[str, Any]:
    """The request as PEP 3333 has it: text is bytes, read as Latin-1."""
    name, _, port = scope.server.rpartition(":")
    environ = {
        "REQUEST_METHOD": scope.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": _latin(scope.path),
        "QUERY_STRING": _latin(scope.query_string),
        "SERVER_PROTOCOL": f"HTTP/{scope.http_version}",
        "SERVER_NAME": name.strip("[]"),
        "SERVER_PORT": port,
        "REMOTE_ADDR": scope.client.rpartition(":")[0].strip("[]"),
        "HTTP_HOST": scope.authority or "",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope.scheme,
        "wsgi.input": BytesIO(body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    seen: dict[str, str] = {}
    for header, value in scope.headers.items():
        key = "HTTP_" + header.replace("-", "_").upper()
        joint = ";" if key == "HTTP_COOKIE" else ","
        seen[key] = f"{seen[key]}{joint}{value}" if key in seen else value
    environ["CONTENT_TYPE"] = seen.pop("HTTP_CONTENT_TYPE", "")
    seen.pop("HTTP_CONTENT_LENGTH", None)
    environ["CONTENT_LENGTH"] = str(len(body))
    return environ | seen


def _latin(text: str) -> str:
    return text.encode().decode("latin-1")
