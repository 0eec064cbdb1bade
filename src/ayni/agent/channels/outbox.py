"""What a task says: read, judged by the schema and the budgets, noted in the book with a number, and only
then the task's file goes; posted in that order. A kill between any two steps leaves what the next start
needs to go on."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

from ayni.agent.channels.book import Taken
from ayni.agent.channels.spot import Later, Spot
from ayni.agent.hub import HubError
from ayni.agent.staging.hub import Upload
from ayni.protocol import channels as words
from ayni.protocol.channels import MAX_MESSAGES, Unfit, canonical, cost
from ayni.transfer import TransferError

MOST_WAITING = 200  # messages taken and not yet posted
BYTES_WAITING = 4 << 30  # of their blobs, beyond which no more are taken
LAG = 30.0  # seconds that a blob may come later than its message
AFTER_THE_END = 120.0  # seconds in which what a task left is still sent at the channel's pace
_BAD_NAMES = 100  # that are told


@dataclass(slots=True)
class Outbox:
    """`send` may be called by several threads: they take turns."""

    spot: Spot
    _sending: threading.Lock = field(default_factory=threading.Lock)
    _recovered: bool = False
    _moments: deque[float] = field(default_factory=deque)  # of what was dealt with lately
    _missing: dict[str, float] = field(default_factory=dict)  # blobs that are not there yet
    _told: set[str] = field(default_factory=set)

    def send(self, stop: threading.Event, *, last: bool = False) -> int:
        """Take what the task has written and post it; how often there was something.

        Args:
            stop: ends it; what was taken stays noted.
            last: the task has ended: all that is left is taken.

        Raises:
            Later, Stopped: it was not all done.
        """
        end, found = self.spot.tools.clock() + AFTER_THE_END, 0
        with self._sending:
            self._recover()
            while not stop.is_set():
                taken = 0 if self.spot.broken else self.spot.guarded(partial(self._take, last))
                if self._post(stop) or taken:
                    found += 1
                    continue
                if not (last and self._is_left()) or self.spot.tools.clock() > end:
                    break
                stop.wait(0.2)
            if last:
                self._leave(stop)
        return found

    def _recover(self) -> None:
        """After a start: finish what a kill left between noting a message and removing its file."""
        if self._recovered:
            return
        waiting = self.spot.tools.book.pending(*self.spot.place, MOST_WAITING)
        for taken in waiting:
            if not taken.removed:
                self.spot.guarded(partial(self._settle, taken.number, taken.name))
        self.spot.spool.drop_all_but({taken.number for taken in waiting})
        self._recovered = True

    def _take(self, last: bool) -> int:
        """Take messages as far as there is room and pace; how many were dealt with."""
        count, size = self.spot.tools.book.waiting(*self.spot.place)
        room = MOST_WAITING - count
        if room <= 0 or size > BYTES_WAITING:
            return 0
        names, bad = self.spot.spool.names(room)
        for name in bad:
            self._tell_bad_name(name)
        dealt = 0
        for name in names:
            if not self._has_pace() or not self._take_one(name, last):
                break
            dealt += 1
        return dealt

    def _take_one(self, name: str, last: bool) -> bool:
        """Take or refuse one message; False: it must wait."""
        try:
            kind, body, has_blob = self.spot.spool.read(name)
            size = self._blob_size(name, last) if has_blob else None
            fit = self.spot.use.rules.check(kind, body, size)
            price = cost(kind, fit, size)
            self._within_budgets(price)
        except FileNotFoundError:
            return True  # the task took it back
        except Later:
            return False
        except Unfit as unfit:
            self._moments.append(self.spot.tools.clock())  # refusing costs something, too
            self.spot.refuse(
                name, unfit.code, str(unfit)
            )  # told before it goes: who waits looks then
            self.spot.spool.drop_blob(name)
            self.spot.spool.remove(name)
            return True
        text = canonical(fit).decode()
        number = self.spot.tools.book.take(
            self.spot.attempt,
            self.spot.assignment.task_id,
            self.spot.use.name,
            name,
            kind,
            text,
            size,
            price,
        )
        self._moments.append(self.spot.tools.clock())
        self._settle(number, name)
        return True

    def _settle(self, number: int, name: str) -> int:
        """It is noted: the blob is ours under its number, and the task's file goes."""
        self.spot.spool.keep_blob(name, number)
        self.spot.spool.remove(name)
        self.spot.tools.book.removed(*self.spot.place, number)
        return 1

    def _blob_size(self, name: str, last: bool) -> int:
        size = self.spot.spool.hold_blob(name)
        if size is not None:
            self._missing.pop(name, None)
            return size
        now = self.spot.tools.clock()
        since = self._missing.setdefault(name, now)
        if now - since < LAG and not last:
            raise Later
        self._missing.pop(name, None)
        raise Unfit("blob", f"says that it has a blob, but there is no {name}.blob")

    def _within_budgets(self, price: int) -> None:
        book, task = self.spot.tools.book, self.spot.assignment.task_id
        most = self.spot.use.rules.max_bytes
        if book.spent(task, self.spot.use.name) + price > most:
            raise Unfit("limit", f"the channel takes {most} bytes of one task in all")
        total = book.spent(task) + price
        most_here = self.spot.tools.max_bytes
        if most_here is not None and total > most_here:
            raise Unfit("limit", f"this site lets a task send {most_here} bytes by channels in all")
        gate = self.spot.rule_of().narrowest(
            f"{self.spot.assignment.who.project}/{self.spot.use.name}"
        )
        if gate is not None and total > gate.limit:
            raise Unfit(
                "release",
                f"dataset {gate.dataset} lets at most {gate.limit} bytes of a task leave here",
            )

    def _has_pace(self) -> bool:
        now = self.spot.tools.clock()
        while self._moments and now - self._moments[0] >= 60.0:
            self._moments.popleft()
        return len(self._moments) < self.spot.use.rules.rate

    def _is_left(self) -> bool:
        return not self.spot.broken and bool(
            self.spot.guarded(lambda: len(self.spot.spool.names(1)[0]))
        )

    def _leave(self, stop: threading.Event) -> None:
        if not stop.is_set() and self._is_left():
            self.spot.say(
                f"messages were left when the task ended: the channel takes {self.spot.use.rules.rate} "
                "a minute"
            )

    # --- posting ---

    def _post(self, stop: threading.Event) -> int:
        """Post the next messages; how many were dealt with."""
        waiting = self.spot.tools.book.pending(*self.spot.place, MAX_MESSAGES)
        batch: list[Taken] = []
        for taken in waiting:
            if taken.blob is not None and batch:
                break
            batch.append(taken)
            if taken.blob is not None:
                break
        messages = [m for taken in batch if (m := self._message(taken, stop)) is not None]
        if messages:
            self._say_all(messages, batch)
        return len(batch)

    def _message(self, taken: Taken, stop: threading.Event) -> words.Outgoing | None:
        """As it travels, its blob sent before; None if that cannot be, which is told."""
        if (no := self.spot.withdrawn) is not None:
            self._done([taken])
            self.spot.refuse(taken.name, "charter", no)
            return None
        try:
            blob = None if taken.blob is None else self._send_blob(taken, stop)
        except TransferError as error:
            if error.retryable or error.code == "quota":
                self._tell_once(f"a blob cannot be sent for now: {error}", error.code)
                raise Later(str(error)) from error
            self._done([taken])
            self.spot.refuse(taken.name, error.code, str(error))
            return None
        body = json.loads(taken.body)
        sha256 = None if blob is None else blob.sha256
        return words.Outgoing(
            attempt=self.spot.attempt,
            channel=self.spot.use.name,
            number=taken.number,
            kind=taken.kind,
            body=body,
            blob=blob,
            signature=self.spot.signature(taken.number, taken.kind, body, sha256),
        )

    def _send_blob(self, taken: Taken, stop: threading.Event) -> words.Blob:
        tools = self.spot.tools
        source = partial(self.spot.spool.open_blob, taken.number)
        described = tools.mover.describe(source, stop=stop)
        if described.size != taken.blob:
            raise TransferError("its blob changed after it was handed over", code="changed")
        url = f"channel:{self.spot.use.name}/{described.sha256}"
        upload = Upload(source, described, f"{taken.name}.blob", self.spot.attempt, url)
        [result] = tools.mover.send_many([upload], tools.files.ask, stop=stop)
        if isinstance(result, TransferError):
            raise result
        return words.Blob(size=described.size, sha256=described.sha256, upload=result)

    def _say_all(self, messages: Sequence[words.Outgoing], batch: Sequence[Taken]) -> None:
        try:
            results = self.spot.tools.hub.post(messages)
        except HubError as error:
            raise Later(str(error)) from error
        by_number = {taken.number: taken for taken in batch}
        for message, posted in zip(messages, results, strict=True):
            taken, problem = by_number[message.number], posted.problem
            if problem is not None and problem.retryable:
                raise Later(problem.message)
            self._done([taken])
            if problem is not None:
                self.spot.refuse(taken.name, problem.code, problem.message)

    def _done(self, batch: Sequence[Taken]) -> None:
        self.spot.tools.book.done(*self.spot.place, [taken.number for taken in batch])
        for taken in batch:
            self.spot.spool.blob(taken.number).unlink(missing_ok=True)

    # --- telling ---

    def _tell_bad_name(self, name: str) -> None:
        if name not in self._told and len(self._told) < _BAD_NAMES:
            self._told.add(name)
            self.spot.refuse(
                name[:200], "name", "is no name of a message; write letters, digits, ._-"
            )

    def _tell_once(self, line: str, key: str) -> None:
        if key not in self._told:
            self._told.add(key)
            self.spot.say(line, "a blob cannot be sent for now")
