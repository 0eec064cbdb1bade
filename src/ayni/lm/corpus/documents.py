"""What a corpus is made of, and the account of what was read and what could not be."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass, field

import regex

MAX_LANGUAGES = 2000  # in a corpus: more than anybody has texts of
MAX_NAMED = 1000  # broken documents that are named; all are counted
#: Canonical ordering is quadratic in a run of combining marks; no language writes so many on a letter.
_MARKS = regex.compile(r"\p{M}{65}")
_ENDS = re.compile("\r\n|[\r\x0b\x0c\x85\u2028\u2029]")
#: Controls, surrogates, what turns the direction of text, marks of byte order, soft hyphens, spaces of no
#: width. Named one by one: by category, sites with different versions of Unicode would differ.
_CONTROLS = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x9f\xad\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ud800-\udfff]"
)


class Unreadable(Exception):
    """A document, or the rest of a file, that cannot be read: the message says why and the remedy."""


@dataclass(frozen=True, slots=True)
class Document:
    """One text. `language` is a BCP 47 tag; translations of one another carry the same `group`.

    `source` says where it stands, for people: `folder/file.zip!member.jsonl#7`. Documents that follow
    one another with the same source are pieces of one.
    """

    text: str
    language: str
    source: str
    group: str | None = None


@dataclass
class Tally:
    """What was read: by language, documents and UTF-8 bytes; and what could not be, by name."""

    documents: Counter[str] = field(default_factory=Counter)
    bytes: Counter[str] = field(default_factory=Counter)
    broken: int = 0
    skipped: Counter[str] = field(default_factory=Counter)  # files by suffix: no format of ours
    named: list[tuple[str, str]] = field(default_factory=list)  # (source, why), the first ones

    def add(self, document: Document) -> None:
        """Count a document.

        Raises:
            Unreadable: one language more than there can be: what names them names something else.
        """
        if document.language not in self.documents and len(self.documents) >= MAX_LANGUAGES:
            raise Unreadable(f"more than {MAX_LANGUAGES} languages; mend what names them")
        self.documents[document.language] += 1
        self.bytes[document.language] += len(document.text.encode())

    def lose(self, source: str, why: object) -> None:
        self.broken += 1
        if len(self.named) < MAX_NAMED:
            self.named.append((source, str(why)))

    def commonest(self) -> str:
        """Why most documents were lost, with one of them as an example; empty if none was."""
        reasons = Counter(why for _, why in self.named)
        if not reasons:
            return ""
        why = reasons.most_common(1)[0][0]
        return f"{next(source for source, reason in self.named if reason == why)}: {why}"


def clean(text: str) -> str:
    """The text in NFC, lines ended by LF, without control characters and surrogates.

    Raises:
        Unreadable: more combining marks on one letter than any language has.
    """
    text = _ENDS.sub("\n", text)
    if not text.isascii():
        if _MARKS.search(text):
            raise Unreadable("more than 64 combining marks on one letter; this is no text")
        text = unicodedata.normalize("NFC", text)
    return _CONTROLS.sub("", text)
