"""The front: a body is gathered before a thread sees it, against a clock; a large one needs a token."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from ayni.hub.front import LARGEST, MOST_LARGE, SMALL, Crew, Front
from tests.hub import factories

pytestmark = pytest.mark.django_db(transaction=True)
TES = "/ga4gh/tes/v1/tasks"


class Headers:
    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        self._pairs = pairs

    def __contains__(self, name: str) -> bool:
        return any(key == name for key, _ in self._pairs)

    def get(self, name: str, default: str | None = None) -> str | None:
        return next((value for key, value in self._pairs if key == name), default)

    def items(self) -> list[tuple[str, str]]:
        return self._pairs


class Sender:
    """What Granian gives for a body: `chunks` come; then, unless it is `quiet`, it ends."""

    def __init__(self, *chunks: bytes, quiet: bool = False) -> None:
        self._chunks = chunks
        self._quiet = quiet
        self.read = 0
        self.status = 0
        self.headers: dict[str, str] = {}
        self.content = b""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            self.read += len(chunk)
            yield chunk
        if self._quiet:
            await asyncio.Event().wait()

    def response_bytes(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
        self.status, self.headers, self.content = status, dict(headers), content


class Response(list[bytes]):
    def close(self) -> None:
        pass


def echo(environ: dict[str, Any], start: Callable[..., Any]) -> Response:
    """Answers with the length that it was told, and the body."""
    start("200 OK", [("Content-Type", "text/plain")])
    body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
    return Response([environ["CONTENT_LENGTH"].encode(), b" ", body])


def scope(path: str = TES, query: str = "", **headers: str) -> Any:
    pairs = [(name.replace("_", "-"), value) for name, value in headers.items()]
    return SimpleNamespace(
        method="POST", path=path, query_string=query, http_version="1.1", scheme="http",
        server="[::1]:8080", client="127.0.0.1:999", authority=None, headers=Headers(pairs),
    )  # fmt: skip


def ask(sender: Sender, wsgi: Any = echo, path: str = TES, **headers: str) -> Sender:
    front = Front(wsgi, threads=2, patience=0.05)
    asyncio.run(front.__rsgi__(scope(path, **headers), sender))  # type: ignore[arg-type]
    return sender


def bearer() -> str:
    return f"Bearer {factories.token()}"


def test_a_body_is_there_as_a_whole_when_it_is_answered() -> None:
    assert ask(Sender(b"ab", b"cd"), content_length="4").content == b"4 abcd"
    assert ask(Sender(quiet=True)).content == b"0 "


def test_who_stops_sending_is_told_and_no_thread_ever_waited() -> None:
    asked: list[Any] = []
    slow = ask(Sender(b"{", quiet=True), lambda *a: asked.append(a), content_length="100")
    assert (slow.status, asked) == (408, [])
    assert slow.headers["Connection"] == "close"
    assert orjson.loads(slow.content)["title"] == "Too slow"


def test_slow_senders_keep_nobody_out() -> None:
    async def all_at_once() -> bytes:
        front = Front(echo, threads=1, patience=60)
        slow = [
            asyncio.ensure_future(
                front.__rsgi__(scope(content_length="9"), Sender(b"{", quiet=True))  # type: ignore[arg-type]
            )
            for _ in range(300)
        ]
        await asyncio.sleep(0)
        ordinary = Sender(b"ok")
        await front.__rsgi__(scope(content_length="2"), ordinary)  # type: ignore[arg-type]
        for one in slow:
            one.cancel()
        return ordinary.content

    assert asyncio.run(all_at_once()) == b"2 ok"


@pytest.mark.parametrize("token", ["", "Bearer ayni_nobodys"])
def test_a_large_body_of_a_stranger_is_not_read(token: str) -> None:
    stranger = Sender(b"x" * (SMALL + 1))
    given = {"authorization": token} if token else {}
    ask(stranger, content_length=str(SMALL + 1), **given)
    assert (stranger.status, stranger.read) == (401, 0)
    assert "WWW-Authenticate" in stranger.headers


def test_a_large_body_is_taken_with_a_token() -> None:
    body = b"x" * (SMALL + 1)
    known = ask(Sender(body), content_length=str(len(body)), authorization=bearer())
    assert known.content == b"%d %s" % (len(body), body)


def test_a_page_takes_a_small_form_only() -> None:
    form = Sender(b"x" * (SMALL + 1))
    ask(form, path="/es/", content_length=str(SMALL + 1), authorization=bearer())
    assert (form.status, form.read) == (413, 0)


def test_more_than_the_largest_body_is_never_read() -> None:
    huge = Sender(b"x")
    ask(huge, content_length=str(LARGEST + 1), authorization=bearer())
    assert (huge.status, huge.read) == (413, 0)


def test_chunks_are_counted_and_need_a_token() -> None:
    assert ask(Sender(b"ab"), transfer_encoding="chunked").status == 411
    known = {"transfer_encoding": "chunked", "authorization": bearer()}
    assert ask(Sender(b"ab", b"c"), **known).content == b"3 abc"
    endless = Sender(*[b"x" * (8 << 20)] * 100)
    assert ask(endless, **known).status == 413
    assert endless.read <= LARGEST + (8 << 20)


def test_a_body_that_ends_too_early_is_told() -> None:
    assert ask(Sender(b"ab"), content_length="3").status == 400


def test_a_token_has_only_so_many_large_bodies_on_their_way() -> None:
    token = bearer()

    async def all_at_once() -> list[int]:
        front = Front(echo, threads=2, patience=60)
        body = b"x" * (SMALL + 1)

        async def send(sender: Sender) -> None:
            large = scope(content_length=str(len(body)), authorization=token)
            await front.__rsgi__(large, sender)  # type: ignore[arg-type]

        held = [Sender(b"x", quiet=True) for _ in range(MOST_LARGE)]
        tasks = [asyncio.ensure_future(send(sender)) for sender in held]
        while not all(sender.read for sender in held):
            await asyncio.sleep(0.001)
        one_more, afterwards = Sender(body), Sender(body)
        await send(one_more)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await send(afterwards)
        return [one_more.status, afterwards.status]

    assert asyncio.run(all_at_once()) == [429, 200]


def test_a_fault_is_a_problem_document() -> None:
    def broken(environ: Any, start: Any) -> Any:
        raise OSError("no disk")

    failed = ask(Sender(), broken)
    assert failed.status == 500
    assert failed.headers["Content-Type"] == "application/problem+json"


def test_text_that_is_not_ascii_reaches_the_application_as_bytes() -> None:
    seen: dict[str, Any] = {}

    def keep(environ: dict[str, Any], start: Any) -> Response:
        seen.update(environ)
        return echo(environ, start)

    request = scope("/é\ufffd", "x=€")
    request.headers = Headers([("cookie", "a=1"), ("cookie", "b=2"), ("accept", "x"), ("accept", "y"),
                               ("content-type", "text/plain")])  # fmt: skip
    asyncio.run(Front(keep, 1).__rsgi__(request, Sender()))  # type: ignore[arg-type]
    assert seen["PATH_INFO"].encode("latin-1").decode() == "/é\ufffd"
    assert seen["QUERY_STRING"].encode("latin-1").decode() == "x=€"
    assert (seen["HTTP_COOKIE"], seen["HTTP_ACCEPT"]) == ("a=1;b=2", "x,y")
    assert (seen["CONTENT_TYPE"], "HTTP_CONTENT_TYPE" in seen) == ("text/plain", False)
    assert (seen["SERVER_NAME"], seen["SERVER_PORT"]) == ("::1", "8080")
    assert seen["REMOTE_ADDR"] == "127.0.0.1"


def test_a_crew_makes_threads_as_they_are_needed_and_not_more() -> None:
    async def work() -> tuple[set[str], set[str]]:
        crew = Crew(3)
        meet = threading.Barrier(3)

        def together() -> str:
            meet.wait(30)
            return threading.current_thread().name

        alone = {await crew.do(lambda: threading.current_thread().name) for _ in range(5)}
        names = await asyncio.gather(*(crew.do(together) for _ in range(6)))
        return alone, set(names)

    alone, names = asyncio.run(work())
    assert len(alone) == 1
    assert len(names) == 3
