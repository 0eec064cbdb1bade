"""How a text is cut before BPE: no token crosses a cut.

As in Llama 3's pattern a word takes one character before it along (most often the space), numbers are
cut into threes, and punctuation stands apart. Two things differ, for the languages of this region.
Combining marks belong to the word, since letters such as g̃ have no precomposed form. An apostrophe
between letters belongs to it too: in Mayan languages, Quechua, Aymara or Guaraní it writes a consonant
(k'iche', t'anta, mba'e), and English contractions ('s, 'll) are no reason to cut there.
"""

from __future__ import annotations

import regex

WORD = (
    r"[^\r\n\p{L}\p{M}\p{N}]?[\p{L}\p{M}]+(?:['’‘`´][\p{L}\p{M}]+)*"
    r"|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+"
    r"|\s+(?!\S)"
    r"|\s+"
)
_WORD = regex.compile(WORD)


def pretokens(text: str) -> list[str]:
    """The pieces of a text, in order; together they are the text."""
    found: list[str] = _WORD.findall(text)
    return found


def is_pretoken(text: str) -> bool:
    """Whether the text would be left in one piece."""
    return _WORD.fullmatch(text) is not None and len(pretokens(text)) == 1
