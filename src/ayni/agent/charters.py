"""Charters of channels at this site: the texts that wait for its operator, and what was said of them.

The hub brings them as soon as tasks wait that might run here; what it did not bring is asked for with the
task that needs it.

STATE/charters/  DIGEST.md      a text, named by the SHA-256 that was computed of it here
                 asked.json     which channels of which projects want it
                 answers.jsonl  every answer ever given, by whom and when; the last one of each holds

The agent writes the first two and `ayni site charter` the third, beside a running agent. What cannot be
read counts as not accepted.
"""

from __future__ import annotations

import getpass
import logging
import os
import threading
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, ValidationError

from ayni.agent.staging.errors import StagingError, Waits
from ayni.agent.supervisor import files
from ayni.errors import UserError
from ayni.protocol import charters as words
from ayni.protocol.attempts import AttemptState
from ayni.protocol.channels import ChannelUse, Sha256
from ayni.protocol.charters import MAX_TOLD, MAX_WHY, CharterQuestion, CharterStatus
from ayni.protocol.messages import Assignment
from ayni.protocol.policy import Model, Reason

log = logging.getLogger(__name__)

CODE = "charter"
FOLDER = "charters"
AGAIN = 2.0  # seconds until it is looked at again whether the operator has answered
MOST = 1000  # that are asked for and not answered: what a hub can make a site keep
_ASKED, _ANSWERS = "asked.json", "answers.jsonl"
_SHORT = 12  # digits of a digest that people are shown


class Asked(Model):
    """A channel wants a charter. `person`: for whose task it was asked for first, at `at`."""

    project: Annotated[str, Field(max_length=255)]
    channel: str
    digest: Sha256
    person: str
    at: float  # Unix seconds


class Answer(Model):
    """An operator's word on a text, for one project."""

    project: str
    digest: Sha256
    answer: Literal["accepted", "refused"]
    by: str
    at: float  # Unix seconds
    why: Annotated[str, Field(max_length=MAX_WHY)] = ""


Key = tuple[str, str]  # project and digest
TextOf = Callable[[str, str], str]  # the hub's text of a charter, by attempt and channel
_LIST: TypeAdapter[list[Asked]] = TypeAdapter(list[Asked])


@dataclass
class Charters:
    """May be used by several threads, and by the operator's commands beside the agent."""

    state: Path
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _seen: tuple[int, int] | None = None  # of the file of answers: when written, how long
    _answers: dict[Key, Answer] = field(default_factory=dict)
    _trouble: str = ""  # why what the hub brought was not kept, as last logged

    @property
    def folder(self) -> Path:
        return self.state / FOLDER

    # --- texts ----------------------------------------------------------------------------

    def text(self, digest: str) -> str | None:
        """The text of this digest, if it is here and is that text."""
        try:
            data = (self.folder / f"{digest}.md").read_bytes()[: words.MAX_TEXT + 1]
            text = data.decode()
        except (OSError, UnicodeDecodeError):
            return None
        return text if words.digest(text) == digest else None

    def asked(self) -> list[Asked]:
        """What was asked for, oldest first."""
        try:
            return _LIST.validate_json((self.folder / _ASKED).read_bytes())
        except FileNotFoundError:
            return []
        except (OSError, ValidationError) as error:
            log.warning("%s cannot be read: %s", self.folder / _ASKED, error)
            return []

    def waiting(self) -> list[Key]:
        """What was asked for and has no answer, oldest first."""
        keys = dict.fromkeys((a.project, a.digest) for a in self.asked())
        return [key for key in keys if self.answer_of(*key) is None]

    def bring(self, questions: Iterable[CharterQuestion]) -> None:
        """Keep what the hub says that tasks wait for; it brings again what is not kept."""
        failed = []
        for one in questions:
            try:
                at = min(one.since, time.time())
                self._keep(one.project, one.channels, one.text, one.person, at)
            except (StagingError, OSError) as error:
                failed.append(f"of project {one.project}: {error}")
        trouble = "; ".join(failed)
        if trouble and trouble != self._trouble:
            log.warning("charters that wait for an answer cannot be kept: %s", trouble)
        self._trouble = trouble

    def _ask(self, use: ChannelUse, assignment: Assignment, text: str) -> None:
        """Keep a text that the hub says is the charter that a task's channel names.

        Raises:
            StagingError: it is another text, or as for `_keep`.
            OSError: it cannot be kept.
        """
        if _digest(use.name, text) != use.charter:
            raise StagingError(
                CODE,
                f"the hub's text of the charter of channel {use.name} is not the one that the task "
                "names; tell the hub's operator",
            )
        who = assignment.who
        self._keep(who.project, [use.name], text, who.email, time.time())

    def _keep(
        self, project: str, channels: Collection[str], text: str, person: str, at: float
    ) -> None:
        """Keep a charter of these channels, for the operator to read.

        Raises:
            StagingError: it cannot be one, or too many wait already.
            OSError: it cannot be kept.
        """
        name = next(iter(channels))
        digest = _digest(name, text)
        with self._lock:
            asked = self.asked()
            self._read()
            key = project, digest
            others = {(a.project, a.digest) for a in asked} - self._answers.keys() - {key}
            if len(others) >= MOST and key not in self._answers:
                raise StagingError(
                    CODE, f"{MOST} charters wait for this site's operator", retryable=True
                )
            self._write(digest, text)
            known = {a.channel for a in asked if (a.project, a.digest) == key}
            new = [
                Asked(project=project, channel=channel, digest=digest, person=person, at=at)
                for channel in channels
                if channel not in known
            ]
            if not new:
                return
            listed = [a.model_dump() for a in [*asked, *new]][-4 * MOST :]
            files.write_json(str(self.folder / _ASKED), listed)
        log.info("channel %s of %s has a charter: see 'ayni site charters'", name, project)

    def _write(self, digest: str, text: str) -> None:
        self.folder.mkdir(mode=0o755, exist_ok=True)
        part = self.folder / f"{digest}.md.part"
        part.write_text(text)
        part.replace(self.folder / f"{digest}.md")

    # --- answers --------------------------------------------------------------------------

    def answer_of(self, project: str, digest: str) -> Answer | None:
        """What the operator said last."""
        with self._lock:
            self._read()
            return self._answers.get((project, digest))

    def _read(self) -> None:
        """Look at the file of answers, if it has changed."""
        path = self.folder / _ANSWERS
        try:
            found = path.stat()
            seen = found.st_mtime_ns, found.st_size
            if seen == self._seen:
                return
            answers = {(a.project, a.digest): a for a in _lines(path)}
        except FileNotFoundError:
            seen, answers = None, {}
        except OSError as error:
            log.warning("%s cannot be read: nothing counts as accepted: %s", path, error)
            seen, answers = None, {}
        self._seen, self._answers = seen, answers

    def say(self, answer: Answer) -> None:
        """Note an answer, durably.

        Raises:
            UserError: the folder cannot be written.
        """
        path = self.folder / _ANSWERS
        line = answer.model_dump_json() + "\n"
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
            with os.fdopen(fd, "rb+", buffering=0) as file:
                whole = file.seek(0, os.SEEK_END) == 0 or os.pread(fd, 1, file.tell() - 1) == b"\n"
                file.write((line if whole else "\n" + line).encode())
                os.fsync(fd)
        except OSError as error:
            raise UserError(
                f"{path} cannot be written ({error.strerror}); are you the agent's user?"
            ) from error

    # --- what follows ---------------------------------------------------------------------

    def objection(self, assignment: Assignment, *uses: ChannelUse) -> Reason | None:
        """Why the operator's word keeps an attempt from its channels, or from some of them; None while
        nothing was refused."""
        for use in uses or assignment.channels:
            answer = use.charter and self.answer_of(assignment.who.project, use.charter)
            if answer and answer.answer == "refused":
                return Reason(
                    code=CODE,
                    message=_refused(use.name, answer),
                    parameters={"channel": use.name, "charter": use.charter},
                )
        return None

    def admit(self, assignment: Assignment, text_of: TextOf) -> None:
        """Ask the hub for the charters that are new here; then all of an attempt's must be accepted.

        Raises:
            Waits: the operator has not answered.
            StagingError: the operator has refused one, and the attempt goes back to the hub; or a text
                cannot be had, or is not the one that was named.
        """
        for use in self._unheard(assignment):
            self._ask(use, assignment, text_of(assignment.attempt, use.name))
        self._need(assignment)

    def _unheard(self, assignment: Assignment) -> list[ChannelUse]:
        """The channels of an attempt whose charters were not asked for here yet."""
        wanted = [use for use in assignment.channels if use.charter is not None]
        if not wanted:
            return []
        project = assignment.who.project
        known = {(a.channel, a.digest) for a in self.asked() if a.project == project}
        return [
            use
            for use in wanted
            if (use.name, use.charter) not in known or self.text(str(use.charter)) is None
        ]

    def _need(self, assignment: Assignment) -> None:
        if (no := self.objection(assignment)) is not None:
            raise StagingError(CODE, no.message, state=AttemptState.WITHDRAWN)
        for use in assignment.channels:
            if (
                use.charter is not None
                and self.answer_of(assignment.who.project, use.charter) is None
            ):
                raise Waits(
                    CODE,
                    f"waits for this site's operator to accept the charter of channel {use.name}: "
                    f"ayni site charter accept {use.charter[:_SHORT]}",
                    AGAIN,
                )

    def told(self) -> list[CharterStatus]:
        """What the hub is told: of each project's charters, the last answer or that there is none."""
        latest: dict[Key, CharterStatus] = {}
        for asked in self.asked():
            key = asked.project, asked.digest
            latest.setdefault(
                key,
                CharterStatus(
                    project=asked.project, digest=asked.digest, state="asked", at=asked.at
                ),
            )
        with self._lock:
            self._read()
            for key, answer in self._answers.items():
                latest[key] = CharterStatus(
                    project=answer.project, digest=answer.digest, state=answer.answer,
                    at=answer.at, why=answer.why,
                )  # fmt: skip
        newest = sorted(latest.values(), key=lambda one: one.at)[-MAX_TOLD:]
        return sorted(newest, key=lambda one: (one.project, one.digest))


def _digest(channel: str, text: str) -> str:
    try:
        return words.digest(words.check(text))
    except ValueError as error:
        raise StagingError(CODE, f"the charter of channel {channel} {error}") from error


def _refused(channel: str, answer: Answer) -> str:
    why = f": {answer.why}" if answer.why else ""
    return f"this site's operator refused the charter of channel {channel}{why}"


def _lines(path: Path) -> Iterable[Answer]:
    for line in path.read_bytes().splitlines():
        if line.strip():
            try:
                yield Answer.model_validate_json(line)
            except ValidationError:  # torn by a power cut, or written by hand
                log.warning("%s: a line is no answer and is passed over", path)


def operator() -> str:
    """Who answers, as the machine knows them; in a container it may know a number only."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # the former before Python 3.13
        user = f"user {os.getuid()}"
    behind = os.environ.get("SUDO_USER")
    return f"{behind} as {user}" if behind else user


def find(charters: Charters, prefix: str, project: str | None) -> Key:
    """The charter that the first digits of a digest name.

    Raises:
        UserError: none, or several.
    """
    keys = {(a.project, a.digest) for a in charters.asked() if a.digest.startswith(prefix.lower())}
    if project is not None:
        keys = {key for key in keys if key[0] == project}
    if len(prefix) < 8 or not keys:
        raise UserError(f"no charter {prefix} is asked for here; see 'ayni site charters'")
    if len(keys) > 1:
        names = ", ".join(sorted({key[0] for key in keys}))
        raise UserError(f"{prefix} names several: give more digits, or --project, one of {names}")
    return keys.pop()
