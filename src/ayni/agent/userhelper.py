"""The agent's side of the helper (`supervisor/helper.py`), by which it acts as local users of the site."""

from __future__ import annotations

import json
import logging
import os
import socket
import stat
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ayni.agent.localusers import LocalUser
from ayni.agent.staging.errors import StagingError

log = logging.getLogger(__name__)

_TIMEOUT = 60.0  # seconds
_IDLE = 60.0  # seconds after which a process that stages is not used again; it waits for longer
_ANSWER = 1 << 16  # bytes


class HelperError(Exception):
    """The helper did not do what was asked."""


class Helper:
    """The program that sudo lets the agent run as some of the site's users."""

    def __init__(self, program: Path, sudo: str = "sudo") -> None:
        self._program = program
        self._sudo = sudo

    def words(self, user: str) -> list[str]:
        """The command that starts it as a user."""
        return [self._sudo, "-n", "-u", user, str(self._program)]

    def ask(self, user: str, request: Mapping[str, object]) -> dict[str, object]:
        """Have something done as a user.

        Raises:
            HelperError: it was not done; the text is for the operator.
        """
        words = self.words(user)
        try:
            done = subprocess.run(
                words,
                input=json.dumps(request),
                capture_output=True,
                text=True,
                errors="replace",
                cwd="/",
                timeout=_TIMEOUT,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise HelperError(f"{' '.join(words)} did not answer: {error}") from error
        return _answer(words, done.stdout, done.stderr, done.returncode)

    def open(self, user: str, folders: Sequence[str]) -> None:
        """Let the agent read and remove what a user's tasks left in these of its work folders."""
        self.ask(user, {"verb": "open", "folders": list(folders)})


def _answer(words: Sequence[str], out: str, err: str, code: int) -> dict[str, object]:
    try:
        answer = json.loads(out)
    except ValueError:
        answer = {"error": err.strip()[-300:] or f"exit code {code}"}
    if not isinstance(answer, dict) or "error" in answer:
        said = answer["error"] if isinstance(answer, dict) else out[:300]
        raise HelperError(f"{' '.join(words)}: {said}")
    return answer


class Stage:
    """Makes folders and files in jobs' roots as one user. May be used by several threads.

    One process of the helper serves many tasks, and goes when there has been nothing to do for long.
    """

    def __init__(self, helper: Helper, user: LocalUser) -> None:
        self._words = helper.words(user.name)
        self.user = user
        self._lock = threading.Lock()
        self._line: socket.socket | None = None
        self._process: subprocess.Popen[str] | None = None
        self._used = 0.0

    def ask(self, request: Mapping[str, str]) -> int | None:
        """Have a folder or a file made.

        Returns:
            The descriptor of a new file, to be read and written.

        Raises:
            OSError: as the user would have had it.
            HelperError: the helper cannot be used; the text is for the operator.
        """
        with self._lock:
            if time.monotonic() - self._used > _IDLE:
                self._hang_up()
            line = self._line or self._start()
            try:
                line.send(json.dumps(request).encode())
                data, files, _, _ = socket.recv_fds(line, _ANSWER, 1)
            except OSError as error:
                raise self._broken(str(error)) from error
            if not data:
                raise self._broken("it hung up")
            self._used = time.monotonic()
        file = files[0] if files else None
        answer = json.loads(data)
        if "errno" in answer:
            raise OSError(answer["errno"], os.strerror(answer["errno"]))
        if "error" in answer:
            raise HelperError(f"{' '.join(self._words)}: {answer['error']}")
        return file

    def close(self) -> None:
        """End the process, if there is one."""
        with self._lock:
            self._hang_up()

    def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.settimeout(_TIMEOUT)
        pipe = subprocess.PIPE
        with theirs:
            try:
                self._process = subprocess.Popen(
                    self._words, stdin=theirs.fileno(), stdout=pipe, stderr=pipe, text=True, cwd="/"
                )
            except OSError as error:
                ours.close()
                raise HelperError(f"{' '.join(self._words)}: {error}") from error
        self._line = ours
        return ours

    def _broken(self, what: str) -> HelperError:
        """What its last words were; the next request starts another."""
        out, err, code = self._hang_up()
        try:
            _answer(self._words, out, err, code)
        except HelperError as error:
            return error
        return HelperError(f"{' '.join(self._words)}: {what}")

    def _hang_up(self) -> tuple[str, str, int]:
        line, process = self._line, self._process
        self._line = self._process = None
        if line is None or process is None:
            return "", "", 0
        line.close()
        try:
            out, err = process.communicate(timeout=_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()  # sudo hands it on where it may
            out, err = process.communicate()
        return out, err, process.returncode


@dataclass(frozen=True, slots=True)
class AttemptMaker:
    """Makes what is staged into one attempt's root, as a local user: a `Maker` of `staging.beneath`."""

    stage: Stage
    attempt: str

    @property
    def group(self) -> int:
        return self.stage.user.group

    def make_folders(self, names: list[str]) -> None:
        self._ask("make", names)

    def create(self, names: list[str]) -> int:
        file = self._ask("create", names)
        if file is None:
            raise _unusable()
        if not stat.S_ISREG(os.fstat(file).st_mode):
            os.close(file)
            raise _unusable()
        return file

    def _ask(self, what: str, names: list[str]) -> int | None:
        try:
            return self.stage.ask({"attempt": self.attempt, what: "/".join(names)})
        except HelperError as error:
            log.error("nothing can be staged as user %s: %s", self.stage.user.name, error)
            raise _unusable() from error


def _unusable() -> StagingError:
    return StagingError(
        "local_user",
        "the site could not put files there as its local user; its operator finds why with "
        "'ayni site doctor'",
        retryable=True,
    )
