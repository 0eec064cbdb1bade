"""A hub of one site for the agent's tests: real HTTP, real exchange rules, no database."""

from __future__ import annotations

import gzip
import json
import sys
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from ayni.protocol.attempts import FINAL, LIVE, AttemptState
from ayni.protocol.charters import CharterQuestion
from ayni.protocol.exchange import (
    Known,
    SiteMemory,
    Taken,
    fence_message,
    hear,
    missing,
    take,
)
from ayni.protocol.messages import Assignment, Report, SiteStatus, SyncReply, SyncRequest

KEY = "ayni_test-key"
S = AttemptState


@dataclass
class Placed:
    assignment: Assignment
    state: AttemptState = S.ASSIGNED
    seq: int = 0
    report: Report | None = None
    seen: list[AttemptState] = field(default_factory=list)
    cancel: bool = False
    withdraw: bool = False
    watched: bool = False


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """An agent that was killed, or that no longer waits, is what these tests are about."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class FakeHub:
    """`place` work, look at `attempts`. With `down` it answers 503, with `status_code` that."""

    def __init__(self) -> None:
        self.epoch = "e0"
        self.memory = SiteMemory()
        self.attempts: dict[str, Placed] = {}
        self.site_status: SiteStatus | None = None
        self.answer_with = 0
        self.charters: list[CharterQuestion] = []
        self.lose_replies = 0
        self.requests = 0
        self.wishes = 0  # grows with every change of mind, and lets held requests go
        self.illegal: list[tuple[str, AttemptState, AttemptState]] = []
        self.unknown_uploads: list[Any] = []
        self.changed = threading.Condition()
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                code, answer = hub.post(self.path, self.headers.get("Authorization", ""), body)
                if code == 0:  # the reply is lost
                    self.close_connection = True
                    return
                data = json.dumps(answer).encode() if not isinstance(answer, bytes) else answer
                self.send_response(code)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self._thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))
        self._thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self._thread.join()

    # --- what a test does ---

    def place(self, *assignments: Assignment) -> None:
        with self.changed:
            for assignment in assignments:
                self.attempts[assignment.attempt] = Placed(assignment)
            self.wishes += 1
            self.changed.notify_all()

    def order(self, attempt: str, **wishes: bool) -> None:
        """cancel, withdraw or watched."""
        with self.changed:
            for wish, value in wishes.items():
                setattr(self.attempts[attempt], wish, value)
            self.wishes += 1
            self.changed.notify_all()

    def wait_for(self, what: Any, seconds: float = 30.0) -> bool:
        with self.changed:
            return self.changed.wait_for(what, seconds)

    def states(self) -> dict[str, AttemptState]:
        return {name: placed.state for name, placed in self.attempts.items()}

    def report(self, attempt: str) -> Report:
        found = self.attempts[attempt].report
        assert found is not None
        return found

    # --- HTTP ---

    def post(self, path: str, authorization: str, body: bytes) -> tuple[int, Any]:
        with self.changed:
            self.requests += 1
            self.changed.notify_all()
            if self.answer_with:
                return self.answer_with, {"title": "No", "detail": "the test says no"}
            if path == "/agent/v1/register":
                return self._register(json.loads(body))
            if authorization != f"Bearer {KEY}":
                return 401, {"title": "Unauthorized", "detail": "no such key"}
            if path == "/agent/v1/sync":
                return self._sync(SyncRequest.model_validate_json(body))
        return 404, {"title": "Not found"}

    def _register(self, words: dict[str, Any]) -> tuple[int, Any]:
        if words.get("code") != "good-code":
            return 401, {"title": "The code is not valid", "detail": "ask for a new one"}
        return 200, {"site": "andes", "token": KEY, "hub": "Ayni", "epoch": self.epoch}

    def _sync(self, request: SyncRequest) -> tuple[int, Any]:
        heard = hear(self.memory, request)
        if heard.fence:
            detail = fence_message(heard.fence)
            return 409, {"title": "Fenced", "detail": detail, "fence": heard.fence}
        self.memory = heard.memory
        if request.status is not None and heard.fresh:
            self.site_status = request.status
        unknown = [r.attempt for r in request.reports if not self._take(r)]
        live = {a: p.state for a, p in self.attempts.items() if p.state in LIVE}
        for attempt in missing(heard, request, live):
            self.attempts[attempt].state = S.LOST
        unknown += [a for a in request.inventory or () if a not in live]
        self.changed.notify_all()
        told = bool(request.reports or request.status or unknown)
        number, wishes = request.number, self.wishes
        if not told and not self._orders():
            self.changed.wait_for(
                lambda: (self.wishes, self.memory.number) != (wishes, number) or self.answer_with,
                min(request.wait, 0.2 if any(p.watched for p in self.attempts.values()) else 5.0),
            )
        reply = SyncReply(
            epoch=self.epoch,
            number=number,
            acknowledged=heard.memory.acknowledged,
            assignments=[p.assignment for p in self.attempts.values() if p.state is S.ASSIGNED],
            withdrawals=[a for a, p in self.attempts.items() if p.withdraw and p.state in LIVE],
            cancels=[a for a, p in self.attempts.items() if p.cancel and p.state in LIVE],
            watched=[a for a, p in self.attempts.items() if p.watched and p.state in LIVE],
            unknown=unknown,
            charters=self.charters,
            want_inventory=heard.rewound,
        )
        if self.lose_replies:
            self.lose_replies -= 1
            return 0, None
        return 200, reply.model_dump_json().encode()

    def _orders(self) -> bool:
        return any(
            p.state is S.ASSIGNED or ((p.cancel or p.withdraw) and p.state not in FINAL)
            for p in self.attempts.values()
        )

    def _take(self, report: Report) -> bool:
        placed = self.attempts.get(report.attempt)
        if placed is None:
            return False
        taken = take(Known(placed.state, placed.seq), report)
        if taken is Taken.ILLEGAL:
            self.illegal.append((report.attempt, placed.state, report.state))
        if taken is Taken.APPLY:
            placed.state, placed.seq, placed.report = report.state, report.seq, report
            placed.seen.append(report.state)
        return True
