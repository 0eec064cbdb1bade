"""Charters: what a project promises of a channel, and what the operators of sites say to it. Pure.

A charter is a plain text (data, licences, who may hold the results, how a party leaves) that belongs to
a channel and is never changed. It is named by the SHA-256 of its bytes, which each site computes of the
text that it was shown: an acceptance is of those bytes and of no others.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Collection, Mapping
from typing import Annotated, Literal

from pydantic import Field

from ayni.protocol.channels import ChannelName, Sha256, Words
from ayni.protocol.policy import Reason

MAX_TEXT = 32 << 10  # bytes of UTF-8
MAX_TOLD = 1000  # charters of which a site says what it holds of them
MAX_WHY = 500  # characters of an operator's reason
MAX_CHANNELS = 20  # of one question
MAX_QUESTIONS = 2  # in one reply, each with its text: others follow once these are known

#: They would show an operator's terminal another order of words than the text has.
_TURNING = frozenset(
    "\u061c\u200e\u200f\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
)

State = Literal["asked", "accepted", "refused"]


class CharterStatus(Words):
    """What a site's operator said of a charter of a project; `asked`: nothing yet. `at`: Unix seconds."""

    project: Annotated[str, Field(max_length=255)]
    digest: Sha256
    state: State
    at: Annotated[float, Field(ge=0, le=32503680000)]
    why: Annotated[str, Field(max_length=MAX_WHY)] = ""


class CharterQuestion(Words):
    """A charter that waits for the answer of a site's operator: its text, and what asks for it.

    Tasks of `project` that use these channels might run at the site. `person`: for whose, `since`: from
    when on, in Unix seconds.
    """

    project: Annotated[str, Field(max_length=255)]
    channels: Annotated[list[ChannelName], Field(min_length=1, max_length=MAX_CHANNELS)]
    person: Annotated[str, Field(max_length=320)]
    since: Annotated[float, Field(ge=0, le=32503680000)]
    text: Annotated[str, Field(max_length=MAX_TEXT)]


class CharterReply(Words):
    """The text of a channel's charter, as the hub has it."""

    text: Annotated[str, Field(max_length=MAX_TEXT)]


def digest(text: str) -> str:
    """By what a charter is named."""
    return hashlib.sha256(text.encode()).hexdigest()


def check(text: str) -> str:
    """The text, if it can be a charter.

    Raises:
        ValueError: it is empty, too long, or does not show on a terminal as it is written.
    """
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        raise ValueError("holds half a character; write plain UTF-8") from error
    if not text.strip():
        raise ValueError("is empty; say what the data is, its licences, who may hold the results")
    if size > MAX_TEXT:
        raise ValueError(f"has {size} bytes; at most {MAX_TEXT} are taken")
    for character in text:
        plain = character in "\n\t" or unicodedata.category(character) != "Cc"
        if not plain or character in _TURNING:
            name = f"U+{ord(character):04X}"
            raise ValueError(f"holds the control character {name}; write plain text or Markdown")
    return text


def refusal(
    told: Collection[CharterStatus] | None, project: str, wanted: Mapping[str, str]
) -> Reason | None:
    """Why a site does not take a project's tasks with these channels; None while nothing was refused.

    Args:
        told: what the site says of charters; None: its agent knows none.
        wanted: the charters' digests, by channel.
    """
    for channel, digest in wanted.items():
        said = _said(told, project, digest)
        if said is not None and said.state == "refused":
            why = f": {said.why}" if said.why else ""
            return Reason(
                code="charter",
                message=f"its operator refused the charter of channel {channel}{why}",
                parameters={"channel": channel, "charter": digest},
            )
    return None


def unaccepted(
    told: Collection[CharterStatus] | None, project: str, wanted: Mapping[str, str]
) -> str | None:
    """The first of these channels whose charter the site's operator has not accepted; None: all are."""
    for channel, digest in wanted.items():
        said = _said(told, project, digest)
        if said is None or said.state != "accepted":
            return channel
    return None


def _said(
    told: Collection[CharterStatus] | None, project: str, digest: str
) -> CharterStatus | None:
    return next((s for s in told or () if (s.project, s.digest) == (project, digest)), None)
