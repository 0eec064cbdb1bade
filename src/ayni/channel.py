"""Channels from within a task: one file, for any Python from 3.8, nothing but the standard library.

A task that names channels in `backend_parameters.channels` finds a folder for each in /channel, and this
file beside them as `ayni_channel.py`:

    import sys; sys.path.append("/channel")
    from ayni_channel import Channel

    sums = Channel("sums")
    sums.send("part", {"count": 3, "total": 4.5})
    for message in sums.receive():
        print(message.sequence, message.kind, message.body)

Sending: the message is written aside and renamed into `out`; the site's agent judges it by the
channel's schema, takes it and removes the file. Receiving: the agent renames messages into `in`, in the
order of their numbers; what has been received is removed.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

_QUICK = 0.05  # seconds between two looks, at first …
_SLOW = 1.0  # … and after a while,
_BRINGING = 0.1  # … but for a blob that is on its way
_READABLE = 0o644  # the site's agent may be another user, and others cannot enter the folder


class Refused(Exception):
    """A message that the channel's schema, the site or the hub does not let through."""


class Message(NamedTuple):
    """A message that has come.

    Attributes:
        sequence: its number in the channel.
        kind: as the schema names it.
        body: its fields.
        blob: the file of its blob, if it has one that is here; yours to move or remove.
        sender: who said it: `site`, `task` and `attempt`, or `person`.
        sent: when the hub had it, in Unix seconds.
    """

    sequence: int
    kind: str
    body: dict[str, Any]
    blob: Path | None
    sender: dict[str, str]
    sent: float


class Channel:
    """One channel of this task.

    Raises:
        FileNotFoundError: the task did not name it in `backend_parameters.channels`.
    """

    def __init__(self, name: str, top: str | Path | None = None) -> None:
        root = os.environ.get("AYNI_ROOT", "")
        self.name = name
        self.folder = Path(top or f"{root}/channel") / name
        if not self.folder.is_dir():
            raise FileNotFoundError(f"this task has no channel {name!r}")
        self._last = 0

    def send(
        self,
        kind: str,
        body: dict[str, Any] | None = None,
        blob: str | Path | bytes | None = None,
        wait: float | None = None,
        move: bool = False,
    ) -> str:
        """Send a message.

        Args:
            kind: as the channel's schema names it.
            body: its fields.
            blob: bytes, or a file, which is copied.
            move: give the blob's file away; it is copied only if it lies on another file system.
            wait: seconds to wait until the site has taken it; None does not wait, 0 looks once.

        Returns:
            Its name, for `refusal`.

        Raises:
            Refused: with `wait`: it was refused.
            TimeoutError: with `wait`: it was not taken in time; it still may be.
        """
        # Names are taken in their order, also those of several writers.
        self._last = max(self._last + 1, time.time_ns())
        name = f"{self._last:020}-{os.getpid()}"
        out = self.folder / "out"
        if blob is not None:
            aside = out / f".{name}.blob"
            if isinstance(blob, bytes):
                aside.write_bytes(blob)
            elif move:
                shutil.move(blob, aside)
            else:
                _copy(Path(blob), aside)
            aside.chmod(_READABLE)
            aside.rename(out / f"{name}.blob")
        aside = out / f".{name}.json"
        message = {"kind": kind, "body": body or {}, "blob": blob is not None}
        with aside.open("w", encoding="utf-8") as file:
            json.dump(message, file, allow_nan=False)
            file.flush()
            os.fsync(file.fileno())
        aside.chmod(_READABLE)
        aside.rename(out / f"{name}.json")
        if wait is not None:
            self._until_taken(name, wait)
        return name

    def refusal(self, name: str) -> str | None:
        """Why a message was refused; None if it was not, or not yet."""
        return next((e["error"] for e in self.errors() if e["name"] == name), None)

    def errors(self) -> list[dict[str, str]]:
        """Why messages were refused: `name`, `code` and `error` of each, the latest last."""
        try:
            text = (self.folder / "errors").read_text(encoding="utf-8")
        except FileNotFoundError:
            return []
        return [json.loads(line) for line in text.splitlines()]

    def waiting(self) -> list[str]:
        """The names of messages that the site has not taken yet."""
        names = sorted(path.name for path in (self.folder / "out").iterdir())
        return [name[:-5] for name in names if name.endswith(".json") and name[0] != "."]

    def receive(
        self,
        timeout: float | None = None,
        keep: bool = False,
    ) -> Iterator[Message]:
        """Messages as they come, in order; each is removed when the next one is asked for.

        Args:
            timeout: seconds without a message after which it ends; None never ends, 0 gives what is
                there.
            keep: leave blobs where they are; they are then yours to remove.
        """
        came = time.monotonic()
        pause, last = _QUICK, 0
        while True:
            found = [n for n in self._arrived() if n > last]
            for sequence in found:
                message = self._read(sequence)
                yield message
                self._remove(message, keep)
                last, came, pause = sequence, time.monotonic(), _QUICK
            if found:
                continue
            if timeout is not None and time.monotonic() - came >= timeout:
                return
            time.sleep(pause)
            pause = min(pause * 1.3, _SLOW)

    def ask(self, message: Message) -> None:
        """Have the blob of a message brought whose kind is brought on request; `fetch` waits for it."""
        if message.blob is None and not self._has_blob(message):
            (self.folder / "ask" / str(message.sequence)).touch()

    def fetch(self, message: Message, timeout: float | None = None) -> Path:
        """Ask for the blob of a message whose kind is brought on request, and wait for it.

        Raises:
            Refused: it has none, or none any more.
            TimeoutError: it did not come in time.
        """
        if message.blob is not None:
            return message.blob
        self.ask(message)
        end, pause = None if timeout is None else time.monotonic() + timeout, _QUICK
        while self._is_asked(message):
            if end is not None and time.monotonic() >= end:
                raise TimeoutError(f"the blob of message {message.sequence} did not come in time")
            time.sleep(pause)
            pause = min(pause * 1.3, _BRINGING)
        if not self._has_blob(message):
            why = self.refusal(str(message.sequence))
            raise Refused(why or f"message {message.sequence} has no blob")
        return self.folder / "in" / self._blob_name(message)

    def _is_asked(self, message: Message) -> bool:
        return str(message.sequence) in {path.name for path in (self.folder / "ask").iterdir()}

    def _has_blob(self, message: Message) -> bool:
        names = {path.name for path in (self.folder / "in").iterdir()}
        return self._blob_name(message) in names

    def _blob_name(self, message: Message) -> str:
        return f"{message.sequence:020}.blob"

    def _arrived(self) -> list[int]:
        # A listing, never a look for a name: a shared disk may remember that it was not there.
        names = [path.name for path in (self.folder / "in").iterdir()]
        return sorted(int(n[:-5]) for n in names if n.endswith(".json") and n[:-5].isdigit())

    def _read(self, sequence: int) -> Message:
        inside = self.folder / "in"
        said = json.loads((inside / f"{sequence:020}.json").read_text(encoding="utf-8"))
        blob = said["blob"] and said["blob"]["file"]
        return Message(
            sequence,
            said["kind"],
            said["body"],
            inside / blob if blob else None,
            said["sender"],
            said["sent"],
        )

    def _remove(self, message: Message, keep: bool) -> None:
        paths = [self.folder / "in" / f"{message.sequence:020}.json"]
        if message.blob is not None and not keep:
            paths.append(message.blob)
        for path in paths:
            with contextlib.suppress(FileNotFoundError):
                path.unlink()

    def _until_taken(self, name: str, wait: float) -> None:
        end, pause = time.monotonic() + wait, _QUICK
        while name in self.waiting():
            if time.monotonic() >= end:
                raise TimeoutError(f"the site has not taken message {name} in {wait} s")
            time.sleep(pause)
            pause = min(pause * 1.3, _SLOW)
        why = self.refusal(name)
        if why is not None:
            raise Refused(why)


def _copy(source: Path, target: Path) -> None:
    """A file of its own content: later changes of the source must not reach it."""
    with source.open("rb") as reading, target.open("wb") as writing:
        shutil.copyfileobj(reading, writing, 1 << 20)
