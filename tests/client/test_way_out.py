"""The way to the hub and its store from a network that lets nothing out but through a proxy, which speaks TLS
by an authority of its own."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from ayni.client import Network
from ayni.client.connection import ca_file
from ayni.client.errors import HubUnreachable
from ayni.transfer import http

HUB = "hub.ayni.invalid"  # which nobody can look up: only the proxy knows the way
ME = b'{"person": {"name": "Ana", "email": "a@b"}, "project": {"name": "langs"}, "scopes": []}'


class Quiet(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass


class Hub(Quiet):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(ME)))
        self.end_headers()
        self.wfile.write(ME)


@dataclass
class Outside:
    """A hub behind TLS, and a proxy that leads everybody to it."""

    ca: Path
    proxy: str
    asked: list[str] = field(default_factory=list)  # of the proxy


def authority(folder: Path) -> tuple[Path, Path, Path]:
    """An authority's certificate, and a server's key and certificate by it."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl makes the certificates, and is not installed")
    ca, ca_key, key, certificate = (folder / n for n in ("ca.pem", "ca.key", "key.pem", "cert.pem"))
    new = ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2")
    own = ("-addext", "keyUsage=critical,keyCertSign", "-subj", "/CN=An authority of our own")
    hers = ("-addext", f"subjectAltName=DNS:{HUB}", "-addext", "basicConstraints=CA:FALSE")
    by = ("-CA", str(ca), "-CAkey", str(ca_key), "-subj", f"/CN={HUB}")
    for more in (
        (*own, "-keyout", str(ca_key), "-out", str(ca)),
        (*hers, *by, "-keyout", str(key), "-out", str(certificate)),
    ):
        subprocess.run([*new, *more], check=True, capture_output=True)
    return ca, key, certificate


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Outside]:
    ca, key, certificate = authority(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    hub = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    hub.socket = context.wrap_socket(hub.socket, server_side=True)
    outside = Outside(ca, "")

    class Proxy(Quiet):
        def do_CONNECT(self) -> None:
            outside.asked.append(self.path)
            with socket.create_connection(hub.server_address[:2]) as there:
                self.send_response(200)
                self.end_headers()
                back = threading.Thread(target=_pour, args=(there, self.connection))
                back.start()
                _pour(self.connection, there)
                back.join()
            self.close_connection = True

    proxy = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    outside.proxy = f"http://127.0.0.1:{proxy.server_port}"
    for server in (hub, proxy):
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
    for name in ("HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy", "AYNI_CA_FILE"):
        monkeypatch.delenv(name, raising=False)
    yield outside
    for server in (hub, proxy):
        server.shutdown()
        server.server_close()


def _pour(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(1 << 16):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # the other side has gone


def ask() -> str:
    with Network(f"https://{HUB}", "ayni_x") as network:
        return str(network.connection.get("/me", patience=0)["project"]["name"])


def test_the_hub_is_reached_through_the_proxy_and_by_the_authority_that_is_named(
    outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", outside.proxy)
    monkeypatch.setenv("AYNI_CA_FILE", str(outside.ca))
    assert ask() == "langs"
    assert outside.asked == [f"{HUB}:443"]


def test_the_store_is_reached_in_the_same_way(
    outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", outside.proxy)
    monkeypatch.setenv("AYNI_CA_FILE", str(outside.ca))
    with http.client(ca_file()) as store:
        assert store.get(f"https://{HUB}/block").content == ME
    assert outside.asked == [f"{HUB}:443"]


def test_an_authority_that_is_not_named_is_not_trusted_and_what_to_do_is_said(
    outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", outside.proxy)
    with pytest.raises(HubUnreachable, match="set AYNI_CA_FILE"):
        ask()
    assert outside.asked == [f"{HUB}:443"]


def test_without_the_proxy_nobody_gets_there(
    outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AYNI_CA_FILE", str(outside.ca))
    with pytest.raises(HubUnreachable):
        ask()
    assert outside.asked == []
