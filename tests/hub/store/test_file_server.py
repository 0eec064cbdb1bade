"""The file server, as a hostile or unlucky client meets it."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from ayni.hub.store import disk, keys, signing
from ayni.hub.store.fileserver import FileServer
from tests.hub.store.server import SECRET, WEB, RunningServer, free_port
from tests.hub.store.support import content, sha

_uploads = itertools.count(1)


def new_key(n: int = 0) -> str:
    return keys.block(7, f"{next(_uploads):032x}", n)


def put(server: RunningServer, data: bytes) -> str:
    key = new_key()
    assert WEB.put(server.put_url(key, len(data), sha(data)), content=data).status_code == 201
    return key


def test_what_is_put_is_what_is_got(file_server: RunningServer) -> None:
    data = content(3_000_000)
    key = put(file_server, data)
    answer = WEB.get(file_server.get_url(key))
    assert answer.status_code == 200
    assert answer.content == data
    assert answer.headers["content-length"] == str(len(data))


def test_an_empty_block_can_be_put(file_server: RunningServer) -> None:
    key = put(file_server, b"")
    assert WEB.get(file_server.get_url(key)).content == b""


@pytest.mark.parametrize(
    ("header", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=10-19", 10, 20),
        ("bytes=990-", 990, 1000),
        ("bytes=-7", 993, 1000),
    ],
)
def test_a_range_is_served(file_server: RunningServer, header: str, start: int, end: int) -> None:
    data = content(1000)
    url = file_server.get_url(put(file_server, data))
    answer = WEB.get(url, headers={"Range": header})
    assert answer.status_code == 206
    assert answer.content == data[start:end]
    assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/1000"


@pytest.mark.parametrize("header", ["bytes=1000-", "bytes=2000-3000", "bytes=-0"])
def test_a_range_outside_the_block_is_refused(file_server: RunningServer, header: str) -> None:
    url = file_server.get_url(put(file_server, content(1000)))
    assert WEB.get(url, headers={"Range": header}).status_code == 416


@pytest.mark.parametrize(
    "header", ["bytes=", "bytes=5-2", "lines=1-2", "bytes=1-2,4-5", "bytes=x-y"]
)
def test_a_range_that_makes_no_sense_is_passed_over(
    file_server: RunningServer, header: str
) -> None:
    url = file_server.get_url(put(file_server, content(1000)))
    assert len(WEB.get(url, headers={"Range": header}).content) == 1000


def test_head_tells_the_size(file_server: RunningServer) -> None:
    answer = WEB.head(file_server.get_url(put(file_server, content(1234))))
    assert answer.status_code == 200
    assert answer.headers["content-length"] == "1234"
    assert answer.content == b""


@pytest.mark.parametrize(
    ("declared", "sent", "status"),
    [
        (content(5000), content(5000, seed=1), 422),  # other bytes
        (content(5000), content(4999), 400),  # too few
        (content(5000), content(5001), 400),  # too many
    ],
)
def test_other_bytes_than_signed_for_are_refused_and_nothing_stays(
    file_server: RunningServer, declared: bytes, sent: bytes, status: int
) -> None:
    key = new_key()
    url = file_server.put_url(key, len(declared), sha(declared))
    answer = WEB.put(url, content=sent)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert WEB.get(file_server.get_url(key)).status_code == 404
    assert not keys.file_of(file_server.folder, key).exists()
    assert list((file_server.folder / keys.INCOMING).iterdir()) == []


@pytest.mark.parametrize("extra", [-1, 1])
def test_a_body_without_announced_length_is_counted(file_server: RunningServer, extra: int) -> None:
    data = content(200_000)
    url = file_server.put_url(new_key(), len(data) + extra, sha(data))
    assert WEB.put(url, content=iter([data[:1000], data[1000:]])).status_code == 422


def test_a_replayed_put_changes_nothing(file_server: RunningServer) -> None:
    data = content(4000)
    key = new_key()
    url = file_server.put_url(key, len(data), sha(data))
    assert WEB.put(url, content=data).status_code == 201
    written = keys.file_of(file_server.folder, key).stat()
    assert WEB.put(url, content=content(4000, seed=9)).status_code == 200
    assert keys.file_of(file_server.folder, key).stat().st_mtime_ns == written.st_mtime_ns
    assert WEB.get(file_server.get_url(key)).content == data


def test_two_puts_of_one_block_at_once_leave_it_whole(file_server: RunningServer) -> None:
    data = content(2_000_000)
    key = new_key()
    url = file_server.put_url(key, len(data), sha(data))
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: WEB.put(url, content=data).status_code, range(4)))
    assert set(answers) <= {200, 201}
    assert WEB.get(file_server.get_url(key)).content == data


def test_an_expired_url_is_refused(file_server: RunningServer) -> None:
    data = content(10)
    key = put(file_server, data)
    assert WEB.get(file_server.get_url(key, seconds=-1)).status_code == 403
    late = file_server.put_url(new_key(), 10, sha(data), seconds=-1)
    assert WEB.put(late, content=data).status_code == 403


def test_an_altered_url_is_refused(file_server: RunningServer) -> None:
    data = content(10)
    key = put(file_server, data)
    url = file_server.get_url(key)
    other = keys.block(8, f"{1:032x}", 0)
    until = url.partition("until=")[2].partition("&")[0]
    for altered in (
        url.replace(key, other),
        url.replace(f"until={until}", f"until={int(until) + 1}"),
        url[:-2] + ("AA" if not url.endswith("AA") else "BB"),
        url.partition("&signature")[0],
        url.partition("?")[0],
        file_server.put_url(key, 10, sha(data)),  # a PUT's signature does not read
        url + "&signature=%ff%00",
    ):
        assert WEB.get(altered).status_code == 403, altered
    small = file_server.put_url(new_key(), 10, sha(data))
    assert WEB.put(small.replace("size=10", "size=11"), content=data + b"x").status_code == 403
    assert WEB.put(url, content=data).status_code == 403


def test_a_signed_size_over_the_limit_is_refused(file_server: RunningServer) -> None:
    url = file_server.put_url(new_key(), 1 << 40, sha(b""))
    assert WEB.put(url, content=b"").status_code == 413


@pytest.mark.parametrize(
    "path",
    [
        "/../secret",
        "/%2e%2e/secret",
        "/7/../../secret",
        f"/7/{1:032x}/../../../secret",
        f"/7/{1:032x}/0%00",
        f"/7/{1:032x}/00",
        f"/07/{1:032x}/0",
        f"/7/{1:032X}F/0",
        "//etc/passwd",
        "/.tmp/x",
        "/",
        "/7",
        "/\xff",
    ],
)
def test_no_path_leaves_the_folder(file_server: RunningServer, path: str) -> None:
    """Sent raw: a client library would tidy the path up. Even a right signature does not help."""
    query = signing.get_query(SECRET.encode(), path.removeprefix("/"), int(time.time()) + 60)
    host, _, port = file_server.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=10) as raw:
        head = f"GET {path}?{query} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        raw.sendall(head.encode("latin-1"))
        status = raw.recv(1000).split(b" ")[1]
    assert status in (b"404", b"400")


def test_other_methods_are_refused(file_server: RunningServer) -> None:
    url = file_server.get_url(put(file_server, b"x"))
    assert WEB.delete(url).status_code == 405
    assert WEB.post(url, content=b"x").status_code == 405


def test_a_sender_who_hangs_up_leaves_nothing(file_server: RunningServer) -> None:
    data = content(100_000)
    key = new_key()
    url = file_server.put_url(key, len(data), sha(data))
    host, _, port = file_server.url.removeprefix("http://").partition(":")
    target = url.removeprefix(file_server.url)
    with socket.create_connection((host, int(port)), timeout=10) as raw:
        head = f"PUT {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(data)}\r\n\r\n"
        raw.sendall(head.encode() + data[:50_000])
    for _ in range(600):
        if not list((file_server.folder / keys.INCOMING).iterdir()):
            break
        time.sleep(0.05)
    assert list((file_server.folder / keys.INCOMING).iterdir()) == []
    assert WEB.get(file_server.get_url(key)).status_code == 404


def test_those_who_hold_connections_open_do_not_keep_others_out(
    file_server: RunningServer,
) -> None:
    host, _, port = file_server.url.removeprefix("http://").partition(":")
    with ExitStack() as stack:
        for _ in range(400):
            raw = stack.enter_context(socket.create_connection((host, int(port)), timeout=10))
            raw.sendall(b"GET /heal")
        assert WEB.get(f"{file_server.url}/health", timeout=5).text == "ok\n"


class SlowSender:
    """As the server sees a client that stops sending in the middle."""

    def __init__(self) -> None:
        self.status = 0
        self.body = ""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b"abc"
        await asyncio.sleep(3600)

    def response_str(self, status: int, headers: Any, body: str) -> None:
        self.status, self.body = status, body


class Request:
    def __init__(self, url: str) -> None:
        self.method = "PUT"
        self.path, _, self.query_string = url.partition("?")
        self.headers: dict[str, str] = {}


def test_a_sender_who_stops_is_dropped(tmp_path: Path) -> None:
    disk.prepare(tmp_path)
    key = new_key()
    query = signing.put_query(SECRET.encode(), key, 6, sha(b"abcdef"), int(time.time()) + 60)
    sender = SlowSender()
    server = FileServer(tmp_path, SECRET.encode(), idle=0.01)
    asyncio.run(server(Request(f"/{key}?{query}"), sender))  # type: ignore[arg-type]
    assert sender.status == 408
    assert json.loads(sender.body)["title"] == "Too slow"
    assert list((tmp_path / keys.INCOMING).iterdir()) == []


def test_a_full_disk_is_a_507(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk.prepare(tmp_path)
    key = new_key()

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(disk, "Incoming", full)
    query = signing.put_query(SECRET.encode(), key, 6, sha(b"abcdef"), int(time.time()) + 60)
    sender = SlowSender()
    asyncio.run(FileServer(tmp_path, SECRET.encode())(Request(f"/{key}?{query}"), sender))  # type: ignore[arg-type]
    assert sender.status == 507


def test_leftovers_of_a_crash_are_cleared_when_old(tmp_path: Path) -> None:
    disk.prepare(tmp_path)
    old, new = tmp_path / keys.INCOMING / "old", tmp_path / keys.INCOMING / "new"
    old.write_bytes(b"x")
    new.write_bytes(b"x")
    os.utime(old, (0, 0))
    assert disk.clear_incoming(tmp_path) == 1
    assert not old.exists()
    assert new.exists()


def _main(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ayni.hub.store.fileserver", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def test_an_operators_mistake_is_one_line_and_exit_code_2(
    tmp_path: Path, file_server: RunningServer
) -> None:
    secret = tmp_path / "secret"
    ended = _main("--folder", tmp_path / "s", "--secret-file", secret)
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)
    secret.write_text("short")
    ended = _main("--folder", tmp_path / "s", "--secret-file", secret)
    assert ended.returncode == 2
    assert "at least 16 bytes" in ended.stderr
    secret.write_text(SECRET)
    port = file_server.url.rpartition(":")[2]
    ended = _main("--folder", tmp_path / "s", "--secret-file", secret, "--port", port)
    assert ended.returncode == 2, "a taken port must not be shared in silence"


def test_the_server_does_not_warn_of_how_it_is_built(tmp_path: Path) -> None:
    secret, port = tmp_path / "secret", free_port()
    secret.write_text(SECRET)
    arguments = ["--folder", tmp_path / "s", "--secret-file", secret, "--port", port]
    server = subprocess.Popen(
        [sys.executable, "-m", "ayni.hub.store.fileserver", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        wait_for(lambda: answers(port))
    finally:
        server.terminate()
        said, _ = server.communicate(timeout=30)
    assert "experimental" not in said
    assert "Listening at" in said, "the rest of its log stays"


PARENT = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-m", "ayni.hub.store.fileserver", *sys.argv[1:],
                          "--parent", str(os.getpid())])
print(child.pid, flush=True)
time.sleep(60)
"""


def test_the_server_ends_with_a_parent_that_was_killed(tmp_path: Path) -> None:
    secret, port = tmp_path / "secret", free_port()
    secret.write_text(SECRET)
    arguments = ["--folder", tmp_path / "s", "--secret-file", secret, "--port", port]
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    try:
        wait_for(lambda: answers(port))
    finally:
        parent.kill()
        parent.wait()
        parent.stdout.close()
    wait_for(lambda: not alive(child))


def wait_for(condition: Callable[[], bool]) -> None:
    for _ in range(400):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("it did not come to that")


def answers(port: int) -> bool:
    try:
        return WEB.get(f"http://127.0.0.1:{port}/health").status_code == 200
    except httpx.TransportError:
        return False


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
