"""One channel of one attempt at its site: what the task says goes out, what others say comes in.

Out: a message is read, judged by the schema and the budgets, noted in the book with a number, and only
then the task's file goes. In: a message is laid ready beside the root, noted, and renamed to where
the task looks. A kill between any two steps leaves what the next start needs to go on.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from ayni.agent.channels.book import Book, Taken
from ayni.agent.channels.hub import ChannelHub
from ayni.agent.channels.spool import MOST_FILES, Spool, TooMany
from ayni.agent.hub import HubError
from ayni.agent.staging.folders import Folders
from ayni.agent.staging.hub import HubFiles, Upload
from ayni.protocol import channels as words
from ayni.protocol import release
from ayni.protocol.channels import MAX_MESSAGES, ChannelUse, Unfit, canonical, cost
from ayni.protocol.messages import Assignment
from ayni.transfer import Incoming, Manifest, Mover, TransferError

log = logging.getLogger(__name__)

MOST_WAITING = 200  # messages taken and not yet posted
BYTES_WAITING = 4 << 30  # of their blobs, beyond which no more are taken
LAG = 30.0  # seconds that a blob may come later than its message
AFTER_THE_END = 120.0  # seconds in which what a task left is still sent at the channel's pace
_BAD_NAMES = 100  # that are told


class Later(Exception):
    """It cannot be done now; nothing is lost, and it is tried again."""


@dataclass(frozen=True, slots=True)
class Tools:
    """What every desk uses.

    Attributes:
        say: tells the user a line: attempt and words.
        max_bytes: that one task may send by channels in all, as the operator allows.
        clock: monotonic seconds.
    """

    book: Book
    hub: ChannelHub
    files: HubFiles
    mover: Mover
    folders: Folders
    say: Callable[[str, str], None]
    max_bytes: int | None = None
    clock: Callable[[], float] = time.monotonic


@dataclass(slots=True)
class Desk:
    """See the module. `send` and `place` may be called by different threads, each by one at a time."""

    tools: Tools
    assignment: Assignment
    use: ChannelUse
    folder: Path
    rule_of: Callable[[], release.Rule]  # what may leave; a site may change its mind
    broken: bool = False  # the task has spoiled its folders: nothing more is relayed
    _spool: Spool = field(init=False)
    _sending: threading.Lock = field(default_factory=threading.Lock)
    _recovered: bool = False
    _moments: deque[float] = field(
        default_factory=deque
    )  # of what was dealt with in the last minute
    _missing: dict[str, float] = field(default_factory=dict)  # blobs that are not there yet
    _told: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._spool = Spool(self.folder, self.use.name)

    @property
    def attempt(self) -> str:
        return self.assignment.attempt

    @property
    def _place(self) -> tuple[str, str]:
        return self.attempt, self.use.name

    # --- out ------------------------------------------------------------------------------

    def send(self, stop: threading.Event, *, last: bool = False) -> None:
        """Take what the task has written and post it.

        Args:
            stop: ends it; what was taken stays noted.
            last: the task has ended: all that is left is taken.

        Raises:
            Later, Stopped: it was not all done.
        """
        end = self.tools.clock() + AFTER_THE_END
        with self._sending:
            self._recover()
            while not stop.is_set():
                taken = 0 if self.broken else self._guarded(partial(self._take, last))
                if self._post(stop) or taken:
                    continue
                if not (last and self._is_left()) or self.tools.clock() > end:
                    break
                stop.wait(0.2)
            if last:
                self._leave(stop)

    def _recover(self) -> None:
        """After a start: finish what a kill left between noting a message and removing its file."""
        if self._recovered:
            return
        waiting = self.tools.book.pending(*self._place, MOST_WAITING)
        for taken in waiting:
            if not taken.removed:
                self._guarded(partial(self._settle, taken.number, taken.name))
        self._spool.drop_all_but({taken.number for taken in waiting})
        self._recovered = True

    def _guarded(self, action: Callable[[], int]) -> int:
        """Do something in the task's folders, which it may have replaced or locked."""
        try:
            return action()
        except TooMany:
            self._break(f"more than {MOST_FILES} files wait in 'out'")
        except OSError as error:
            self._break(f"its folders cannot be used: {error.strerror or error}")
        return 0

    def _break(self, why: str) -> None:
        self.broken = True
        self._say(f"nothing more is relayed: {why}")
        self._complain("", "folder", why)

    def _take(self, last: bool) -> int:
        """Take messages as far as there is room and pace; how many were dealt with."""
        count, size = self.tools.book.waiting(*self._place)
        room = MOST_WAITING - count
        if room <= 0 or size > BYTES_WAITING:
            return 0
        names, bad = self._spool.names(room)
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
            kind, body, has_blob = self._spool.read(name)
            size = self._blob_size(name, last) if has_blob else None
            fit = self.use.rules.check(kind, body, size)
            price = cost(kind, fit, size)
            self._within_budgets(price)
        except FileNotFoundError:
            return True  # the task took it back
        except Later:
            return False
        except Unfit as unfit:
            self._moments.append(self.tools.clock())  # refusing costs something, too
            self._refuse(name, unfit.code, str(unfit))  # told before it goes: who waits looks then
            self._spool.drop_blob(name)
            self._spool.remove(name)
            return True
        text = canonical(fit).decode()
        number = self.tools.book.take(
            self.attempt, self.assignment.task_id, self.use.name, name, kind, text, size, price
        )
        self._moments.append(self.tools.clock())
        self._settle(number, name)
        return True

    def _settle(self, number: int, name: str) -> int:
        """It is noted: the blob is ours under its number, and the task's file goes."""
        self._spool.keep_blob(name, number)
        self._spool.remove(name)
        self.tools.book.removed(*self._place, number)
        return 1

    def _blob_size(self, name: str, last: bool) -> int:
        size = self._spool.hold_blob(name)
        if size is not None:
            self._missing.pop(name, None)
            return size
        now = self.tools.clock()
        since = self._missing.setdefault(name, now)
        if now - since < LAG and not last:
            raise Later
        self._missing.pop(name, None)
        raise Unfit("blob", f"says that it has a blob, but there is no {name}.blob")

    def _within_budgets(self, price: int) -> None:
        book, task = self.tools.book, self.assignment.task_id
        most = self.use.rules.max_bytes
        if book.spent(task, self.use.name) + price > most:
            raise Unfit("limit", f"the channel takes {most} bytes of one task in all")
        total = book.spent(task) + price
        most_here = self.tools.max_bytes
        if most_here is not None and total > most_here:
            raise Unfit("limit", f"this site lets a task send {most_here} bytes by channels in all")
        gate = self.rule_of().narrowest(f"{self.assignment.who.project}/{self.use.name}")
        if gate is not None and total > gate.limit:
            raise Unfit(
                "release",
                f"dataset {gate.dataset} lets at most {gate.limit} bytes of a task leave here",
            )

    def _has_pace(self) -> bool:
        now = self.tools.clock()
        while self._moments and now - self._moments[0] >= 60.0:
            self._moments.popleft()
        return len(self._moments) < self.use.rules.rate

    def _is_left(self) -> bool:
        return not self.broken and bool(self._guarded(lambda: len(self._spool.names(1)[0])))

    def _leave(self, stop: threading.Event) -> None:
        if not stop.is_set() and self._is_left():
            self._say(
                f"messages were left when the task ended: the channel takes {self.use.rules.rate} "
                "a minute"
            )

    # --- posting ---

    def _post(self, stop: threading.Event) -> int:
        """Post the next messages; how many were dealt with."""
        waiting = self.tools.book.pending(*self._place, MAX_MESSAGES)
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
        try:
            blob = None if taken.blob is None else self._send_blob(taken, stop)
        except TransferError as error:
            if error.retryable or error.code == "quota":
                self._tell_once(f"a blob cannot be sent for now: {error}", error.code)
                raise Later(str(error)) from error
            self._done([taken])
            self._refuse(taken.name, error.code, str(error))
            return None
        return words.Outgoing(
            attempt=self.attempt,
            channel=self.use.name,
            number=taken.number,
            kind=taken.kind,
            body=json.loads(taken.body),
            blob=blob,
        )

    def _send_blob(self, taken: Taken, stop: threading.Event) -> words.Blob:
        tools = self.tools
        source = partial(self._spool.open_blob, taken.number)
        described = tools.mover.describe(source, stop=stop)
        if described.size != taken.blob:
            raise TransferError("its blob changed after it was handed over", code="changed")
        url = f"channel:{self.use.name}/{described.sha256}"
        upload = Upload(source, described, f"{taken.name}.blob", self.attempt, url)
        [result] = tools.mover.send_many([upload], tools.files.ask, stop=stop)
        if isinstance(result, TransferError):
            raise result
        return words.Blob(size=described.size, sha256=described.sha256, upload=result)

    def _say_all(self, messages: Sequence[words.Outgoing], batch: Sequence[Taken]) -> None:
        try:
            results = self.tools.hub.post(messages)
        except HubError as error:
            raise Later(str(error)) from error
        by_number = {taken.number: taken for taken in batch}
        for message, posted in zip(messages, results, strict=True):
            taken, problem = by_number[message.number], posted.problem
            if problem is not None and problem.retryable:
                raise Later(problem.message)
            self._done([taken])
            if problem is not None:
                self._refuse(taken.name, problem.code, problem.message)

    def _done(self, batch: Sequence[Taken]) -> None:
        self.tools.book.done(*self._place, [taken.number for taken in batch])
        for taken in batch:
            self._spool.blob(taken.number).unlink(missing_ok=True)

    # --- in -------------------------------------------------------------------------------

    def want(self) -> words.Want | None:
        """What to ask the hub for now, if anything: finishes what a kill left half done."""
        if self.broken or not self.use.reads:
            return None
        try:
            after = self._heard()
            room = self._spool.room()
        except OSError as error:
            self._break(f"its folders cannot be used: {error.strerror or error}")
            return None
        return (
            words.Want(attempt=self.attempt, channel=self.use.name, after=after) if room else None
        )

    def _heard(self) -> int:
        heard = self.tools.book.heard(*self._place)
        if heard.placing <= heard.last:
            return heard.last
        # That it does not lie ready any more shows that it was put down.
        if self._spool.ready(heard.placing).exists():
            self._spool.put(heard.placing)
        self.tools.book.placed(*self._place, heard.placing)
        return heard.placing

    def place(self, message: words.Incoming, stop: threading.Event) -> None:
        """Put a message down for the task, unless it has it.

        Raises:
            Later, Stopped: not now.
        """
        try:
            if self.broken or message.sequence <= self._heard():
                return
            shown = _shown(message)
            if message.blob is not None:
                later = self.use.rules.is_on_request(message.kind)
                if later or not self._bring(message.sequence, message.blob, stop):
                    shown["blob"] |= {"file": None}
            self._spool.write(message.sequence, shown)
            self.tools.book.placing(*self._place, message.sequence)
            self._spool.put(message.sequence)
            self.tools.book.placed(*self._place, message.sequence)
        except TransferError as error:
            raise Later(str(error)) from error
        except OSError as error:
            self._break(f"its folders cannot be used: {error.strerror or error}")

    @property
    def may_ask(self) -> bool:
        """Whether a task may ask for blobs here at all."""
        return self.use.reads and any(map(self.use.rules.is_on_request, self.use.rules.kinds))

    def answer(self, stop: threading.Event) -> None:
        """Bring the blobs that the task asks for.

        Raises:
            Later, Stopped: not now.
        """
        if not self.broken:
            try:
                self._guarded(partial(self._answer, stop))
            except TransferError as error:
                raise Later(str(error)) from error

    def _answer(self, stop: threading.Event) -> int:
        asked = self._spool.asked()
        for sequence in asked:
            heard = self.tools.book.heard(*self._place).last
            if sequence > heard or not self._bring(sequence, None, stop):
                self._complain(str(sequence), "blob", f"message {sequence} has no blob (any more)")
            self._spool.answered(sequence)
        return len(asked)

    def _bring(self, sequence: int, blob: words.Blob | None, stop: threading.Event) -> bool:
        """Bring a message's blob, which must be the one that it names; False if there is none any more."""
        spool = self._spool
        if blob is not None and spool.has_blob(sequence, blob.size):
            return True
        if not spool.arriving(sequence).exists():
            manifest = self._manifest(sequence)
            if manifest is None:
                return False
            if blob is not None and (manifest.size, manifest.sha256) != (blob.size, blob.sha256):
                raise Later("the hub's blob is not the one that its message names")
            if (no := self.tools.folders.no_room(manifest.size)) is not None:
                raise Later(no.message)
            refresh = partial(self._fresh, sequence)
            coming = Incoming(manifest, spool.arriving(sequence), refresh)
            self.tools.mover.fetch(coming, stop=stop)
        spool.put_blob(sequence)
        return True

    def _manifest(self, sequence: int) -> Manifest | None:
        try:
            return self.tools.hub.blob(self.attempt, self.use.name, sequence)
        except HubError as error:
            if error.status == 404:
                return None
            raise Later(str(error)) from error

    def _fresh(self, sequence: int) -> Manifest:
        manifest = self._manifest(sequence)
        if manifest is None:
            raise TransferError("the blob was deleted meanwhile", code="changed", retryable=True)
        return manifest

    # --- telling --------------------------------------------------------------------------

    def _refuse(self, name: str, code: str, message: str) -> None:
        self._complain(name, code, message)
        self._say(f"message {name} was refused: {message}", f"a message was refused ({code})")

    def _tell_bad_name(self, name: str) -> None:
        if name not in self._told and len(self._told) < _BAD_NAMES:
            self._told.add(name)
            self._refuse(name[:200], "name", "is no name of a message; write letters, digits, ._-")

    def _tell_once(self, line: str, key: str) -> None:
        if key not in self._told:
            self._told.add(key)
            self._say(line, "a blob cannot be sent for now")

    def _complain(self, name: str, code: str, message: str) -> None:
        try:
            self._spool.complain(name, code, message)
        except OSError as error:
            log.info("attempt %s cannot be told of its channel: %s", self.attempt, error.strerror)

    def _say(self, line: str, guarded: str = "") -> None:
        """Tell the user; without any word that the task chose, where those may not leave."""
        told = line if not guarded or self.rule_of().names_in_words else guarded
        self.tools.say(self.attempt, f"channel {self.use.name}: {told}")


def _shown(message: words.Incoming) -> dict[str, Any]:
    """A message as the task reads it."""
    blob = message.blob
    return {
        "sequence": message.sequence,
        "kind": message.kind,
        "body": message.body,
        "blob": blob
        and {"file": f"{message.sequence:020}.blob", "size": blob.size, "sha256": blob.sha256},
        "sender": message.sender.model_dump(exclude_none=True),
        "sent": message.sent,
    }
