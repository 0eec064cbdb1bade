"""One channel of one attempt at its site: what both directions share, and how the task and its user are
told when something is wrong."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ayni.agent.channels.book import Book
from ayni.agent.channels.hub import ChannelHub
from ayni.agent.channels.spool import MOST_FILES, Spool, TooMany
from ayni.agent.charters import Charters
from ayni.agent.staging.folders import Folders
from ayni.agent.staging.hub import HubFiles
from ayni.protocol import release
from ayni.protocol.channels import ChannelUse
from ayni.protocol.messages import Assignment
from ayni.signatures import Said, Signer
from ayni.transfer import Mover

log = logging.getLogger(__name__)


class Later(Exception):
    """It cannot be done now; nothing is lost, and it is tried again."""


@dataclass(frozen=True, slots=True)
class Tools:
    """What every desk uses.

    Attributes:
        say: tells the user a line: attempt and words.
        site: this one's name, in which `signer` signs.
        max_bytes: that one task may send by channels in all, as the operator allows.
        clock: monotonic seconds.
    """

    book: Book
    hub: ChannelHub
    files: HubFiles
    mover: Mover
    folders: Folders
    say: Callable[[str, str], None]
    charters: Charters
    site: str
    signer: Signer
    max_bytes: int | None = None
    clock: Callable[[], float] = time.monotonic


@dataclass(slots=True)
class Spot:
    """`broken`: the task has spoiled its folders, and nothing more is relayed."""

    tools: Tools
    assignment: Assignment
    use: ChannelUse
    folder: Path
    rule_of: Callable[[], release.Rule]  # what may leave; a site may change its mind
    broken: bool = False
    spool: Spool = field(init=False)

    def __post_init__(self) -> None:
        self.spool = Spool(self.folder, self.use.name)

    @property
    def attempt(self) -> str:
        return self.assignment.attempt

    @property
    def place(self) -> tuple[str, str]:
        """Its key in the book."""
        return self.attempt, self.use.name

    @property
    def withdrawn(self) -> str | None:
        """Why nothing more leaves here: the operator has taken the acceptance of the charter back."""
        no = self.tools.charters.objection(self.assignment, self.use)
        return None if no is None else no.message

    def signature(self, number: int, kind: str, body: dict[str, Any], blob: str | None) -> str:
        """The site's signature over a message as it travels; `blob`: the SHA-256 of its blob."""
        said = Said(
            project=self.assignment.who.project,
            channel=self.use.name,
            site=self.tools.site,
            task=self.assignment.task_id,
            attempt=self.attempt,
            number=number,
            kind=kind,
            body=body,
            blob=blob,
        )
        return self.tools.signer.sign(said)

    def guarded(self, action: Callable[[], int]) -> int:
        """Do something in the task's folders, which it may have replaced or locked."""
        try:
            return action()
        except TooMany:
            self.give_up(f"more than {MOST_FILES} files wait in 'out'")
        except OSError as error:
            self.give_up(f"its folders cannot be used: {error.strerror or error}")
        return 0

    def give_up(self, why: str) -> None:
        """Relay nothing more, and say so."""
        self.broken = True
        self.say(f"nothing more is relayed: {why}")
        self.complain("", "folder", why)

    def refuse(self, name: str, code: str, message: str) -> None:
        """Tell task and user that a message was refused."""
        self.complain(name, code, message)
        self.say(f"message {name} was refused: {message}", f"a message was refused ({code})")

    def complain(self, name: str, code: str, message: str) -> None:
        """Tell the task, if its folders still allow that."""
        try:
            self.spool.complain(name, code, message)
        except OSError as error:
            log.info("attempt %s cannot be told of its channel: %s", self.attempt, error.strerror)

    def say(self, line: str, guarded: str = "") -> None:
        """Tell the user; without any word that the task chose, where those may not leave."""
        told = line if not guarded or self.rule_of().names_in_words else guarded
        self.tools.say(self.attempt, f"channel {self.use.name}: {told}")
