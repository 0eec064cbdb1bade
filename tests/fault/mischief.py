"""A proxy between one agent and the hub that loses, doubles and reorders sync messages."""

from __future__ import annotations

import contextlib
import http.client
import random
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SYNC = "/agent/v1/sync"
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "host", "content-length"}


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Killed peers break connections: that is what the run is about."""


class Mischief:
    """Listens on a port of its own; `deeds` counts what it did."""

    def __init__(self, hub_port: int, seed: int) -> None:
        self.hub_port = hub_port
        self.rng = random.Random(seed)
        self.deeds: Counter[str] = Counter()
        self.lock = threading.Lock()
        self.quiet = False  # True: pass everything on, so that a run can come to its end
        self.server = Server(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def draw(self, path: str) -> str:
        """What to do with this request."""
        with self.lock:
            if self.quiet or not path.startswith(SYNC):
                return "pass"
            deed = self.rng.choices(
                ["pass", "lose request", "lose reply", "double", "reorder"], [70, 8, 8, 7, 7]
            )[0]
            self.deeds[deed] += 1
            return deed

    def forward(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self.hub_port, timeout=60)
        try:
            connection.request(method, path, body, headers)
            reply = connection.getresponse()
            return reply.status, reply.getheaders(), reply.read()
        finally:
            connection.close()

    def later(self, *request: Any) -> None:
        """Send the request once more, after others have overtaken it; its reply goes nowhere."""
        with self.lock:
            delay = self.rng.uniform(0.2, 3)

        def run() -> None:
            time.sleep(delay)
            with contextlib.suppress(OSError):  # the hub is down: then this copy is lost, too
                self.forward(*request)

        threading.Thread(target=run, daemon=True).start()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        mischief = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                """Say nothing: a run makes thousands of requests."""

            def serve(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                headers = {k: v for k, v in self.headers.items() if k.lower() not in HOP_BY_HOP}
                request = (self.command, self.path, headers, body)
                deed = mischief.draw(self.path)
                if deed == "lose request":
                    return self.drop()
                if deed == "reorder":
                    mischief.later(*request)
                try:
                    if deed == "double":
                        mischief.forward(*request)
                    status, reply_headers, reply = mischief.forward(*request)
                except OSError:
                    return self.drop()
                if deed == "lose reply":
                    return self.drop()
                with contextlib.suppress(ConnectionError):  # the agent was killed meanwhile
                    self.answer(status, reply_headers, reply)
                return None

            def answer(self, status: int, reply_headers: Any, reply: bytes) -> None:
                self.send_response(status)
                for key, value in reply_headers:
                    if key.lower() not in HOP_BY_HOP:
                        self.send_header(key, value)
                self.send_header("Content-Length", str(len(reply)))
                self.end_headers()
                self.wfile.write(reply)

            def drop(self) -> None:
                self.close_connection = True
                self.connection.close()

            do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = serve

        return Handler
