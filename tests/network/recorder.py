"""A proxy before the hub and its file server that keeps every byte which one site sends them."""

from __future__ import annotations

import gzip
import http.client
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_HOP = {"connection", "keep-alive", "transfer-encoding", "host", "content-length"}


@dataclass(frozen=True)
class Sent:
    """A request of the site: all that it said. `body` is unpacked."""

    method: str
    path: str
    headers: str
    body: bytes


def everything(sent: Sequence[Sent]) -> bytes:
    """All that was said, addresses and headers too."""
    return b"\n".join(f"{s.method} {s.path}\n{s.headers}\n".encode() + s.body for s in sent)


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Agents that are killed, or that no longer wait, break connections."""


@dataclass
class Recorder:
    """Two ports: `url` stands for the hub, and the store's signed URLs are led through the other."""

    hub: int
    files: int
    sent: list[Sent] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._servers = [Server(("127.0.0.1", 0), self._handler(p)) for p in (self.hub, self.files)]
        self._ports = [server.server_address[1] for server in self._servers]
        self.url = f"http://127.0.0.1:{self._ports[0]}"
        for server in self._servers:
            threading.Thread(target=server.serve_forever, daemon=True).start()

    def close(self) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def _through(self, answer: bytes) -> bytes:
        """The store's addresses become ours. Their signatures bind no host."""
        real, ours = (b"http://127.0.0.1:%d/" % port for port in (self.files, self._ports[1]))
        return answer.replace(real, ours)

    def _handler(self, port: int) -> type[BaseHTTPRequestHandler]:
        recorder = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                pass

            def serve(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                plain = body
                if self.headers.get("Content-Encoding") == "gzip":
                    plain = gzip.decompress(body)
                recorder.sent.append(Sent(self.command, self.path, str(self.headers), plain))
                headers = {k: v for k, v in self.headers.items() if k.lower() not in _HOP}
                upstream = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
                try:
                    upstream.request(self.command, self.path, body, headers)
                    reply = upstream.getresponse()
                    data = reply.read()
                finally:
                    upstream.close()
                if reply.getheader("Content-Type", "").startswith("application/json"):
                    data = recorder._through(data)
                self.send_response(reply.status)
                for key, value in reply.getheaders():
                    if key.lower() not in _HOP:
                        self.send_header(key, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = serve

        return Handler
