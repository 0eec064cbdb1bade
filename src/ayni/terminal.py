"""What others wrote, made harmless before a terminal shows it: tasks, names and messages are strangers'."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator

#: C0, DEL, C1, and the characters that turn the direction of what follows.
_HOSTILE = "\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069"
_IN_A_LINE = re.compile(f"[{_HOSTILE}]")
_IN_A_TEXT = re.compile(rf"(?![\n\t])[{_HOSTILE}]")


def one_line(text: str) -> str:
    """A name or a message: a space for each character that could play with the terminal."""
    return _IN_A_LINE.sub(" ", text)


def lines(text: str) -> str:
    """Several lines: tabs too stay as they are, other control characters are shown as `cat -v` does."""
    return _IN_A_TEXT.sub(_caret, text)


def log(parts: Iterable[bytes]) -> Iterator[bytes]:
    """What a task printed, part by part as it comes, as `lines` shows it."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    for part in parts:
        yield lines(decoder.decode(part)).encode()
    yield decoder.decode(b"", final=True).encode()


def _caret(found: re.Match[str]) -> str:
    code = ord(found.group())
    return f"^{chr(code ^ 64)}" if code < 128 else f"<{code:02x}>"
