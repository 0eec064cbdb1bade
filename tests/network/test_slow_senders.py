"""Strangers who send slowly take up no thread of the hub, so that it goes on answering all others."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from ayni.hub.serve import SQLITE_THREADS
from tests.network.net import LIMIT, Net

SENDERS = 300
HEAD = b"POST %s HTTP/1.1\r\nHost: hub\r\nContent-Type: application/json\r\nContent-Length: 60000\r\n\r\n{"


@pytest.fixture(params=[b"/agent/v1/register", b"/ga4gh/tes/v1/tasks", b"/es/"])
def senders(net: Net, request: pytest.FixtureRequest) -> Iterator[list[socket.socket]]:
    """Each has sent the first byte of a body, and no more."""
    with ExitStack() as stack:
        found = []
        for _ in range(SENDERS):
            one = socket.create_connection(("127.0.0.1", net.stage.port), LIMIT)
            one.sendall(HEAD % request.param)
            found.append(stack.enter_context(one))
        yield found


def test_hundreds_of_slow_senders_do_not_silence_the_hub(
    net: Net, senders: list[socket.socket]
) -> None:
    assert net.get("/me")["project"]["name"] == "quinua"
    assert net.call("POST", "/ga4gh/tes/v1/tasks", content=b"{}").status_code == 400
    answered = select.select(senders, [], [], 0)[0]
    assert SENDERS - len(answered) > SQLITE_THREADS  # they are all still at it


def test_what_is_too_slow_is_told_so(net: Net) -> None:
    with socket.create_connection(("127.0.0.1", net.stage.port), LIMIT) as sender:
        sender.sendall(HEAD % b"/agent/v1/register")
        assert sender.recv(100).startswith(b"HTTP/1.1 408 ")
