"""What is held out of training: by hash of the paragraph, the same at every site and in every run.

Nothing but the paragraph's letters decides, so within each language the same share is held out, a
paragraph that two sites hold is held out at both, and a larger share contains every smaller one. A
document that belongs to a group of translations is not divided: the group decides, for all of them.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

from ayni.lm.corpus.documents import Document

SHARE = 0.05  # of the paragraphs, or groups, by default
_BLANK = re.compile(r"\n(?:[^\S\n]*\n)+")
_LINE = re.compile(r"\n")


@dataclass(frozen=True, slots=True)
class Folds:
    """A document's text, divided; either part may be empty."""

    train: str
    heldout: str


def split(document: Document, share: float = SHARE) -> Folds:
    """Divide a document. `share` from 0 to 1 is the part of paragraphs (or groups) held out."""
    if document.group is not None:
        held = held_out(f"group\0{document.group}", share)
        return Folds("", document.text) if held else Folds(document.text, "")
    train: list[str] = []
    heldout: list[str] = []
    for words, whole in paragraphs(document.text):
        key = normalised(words)
        held = bool(key) and held_out(f"paragraph\0{key}", share)
        (heldout if held else train).append(whole)
    return Folds("".join(train), "".join(heldout))


def paragraphs(text: str) -> Iterator[tuple[str, str]]:
    """The paragraphs, and each with the space that follows it; these together are the text.

    They are parted by blank lines; in a text without any, each line is one.
    """
    gap = _BLANK if _BLANK.search(text.strip()) else _LINE
    start = 0
    for found in gap.finditer(text):
        yield text[start : found.start()], text[start : found.end()]
        start = found.end()
    if start < len(text):
        yield text[start:], text[start:]


def normalised(paragraph: str) -> str:
    """Letters and digits only, case and compatibility forms folded: what two printings have in common."""
    folded = unicodedata.normalize("NFKC", paragraph.casefold())
    return "".join(filter(str.isalnum, folded))


def held_out(key: str, share: float) -> bool:
    """Whether the key falls into the share: by BLAKE2b, as a number of 64 bits."""
    digest = hashlib.blake2b(
        key.encode("utf-8", "surrogatepass"), digest_size=8, person=b"ayni-heldout-1"
    ).digest()
    return int.from_bytes(digest, "big") < int(share * 2**64)
