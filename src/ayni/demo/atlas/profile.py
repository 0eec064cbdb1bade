#!/usr/bin/env python3
"""Profile a text: what share each short run of letters has in it.

    python3 profile.py TEXT PROFILE LANGUAGE

Reads the UTF-8 file TEXT and writes PROFILE, a small JSON document: the text's most frequent runs
of one to three letters (n-grams) with their shares, its alphabet, its entropy and its counts. This
is the aggregate that may leave a country whose text may not.

The script stands alone: the standard library of Python 3.9 is all that it needs, so a site can run
it with any interpreter. Exit code 2, and one line on stderr, if the input cannot be used.
"""

from __future__ import annotations

import json
import math
import re
import sys
import unicodedata
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FORMAT = "ayni-atlas-profile/1"
LENGTHS = (1, 2, 3)
KEPT = 400  # n-grams kept in a profile: about 8 KB, whatever the length of the text
EDGE = "_"  # stands at both ends of a word
MAX_BYTES = 16 * 2**20
LANGUAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{1,63}")
APOSTROPHES = "'`´ʹʻʼʽˈ‘’ꞌ"  # writers' choices for one letter, most often the glottal stop
LETTER = "’"


class UnusableInput(ValueError):
    """The input cannot be profiled; the message says why and what to do."""


def words(text: str) -> Iterator[str]:
    """The words of `text`, lower case and NFC: runs of letters, their marks and apostrophes."""
    folded = unicodedata.normalize("NFC", text.lower())
    spaced = (LETTER if c in APOSTROPHES else c if is_letter(c) else " " for c in folded)
    for word in "".join(spaced).split():
        if word.strip(LETTER):
            yield word


def is_letter(character: str) -> bool:
    return unicodedata.category(character)[0] in "LM"


def ngrams(word: str, length: int) -> Iterator[str]:
    """The n-grams of a word with its edges marked; the bare edge is not one."""
    marked = word if length == 1 else EDGE + word + EDGE
    for start in range(len(marked) - length + 1):
        yield marked[start : start + length]


def entropy(counts: Counter[str]) -> float:
    """Shannon entropy in bits."""
    total = sum(counts.values())
    return -sum(n / total * math.log2(n / total) for n in counts.values())


def profile(text: str, language: str) -> dict[str, Any]:
    """The profile of `text`. Shares are relative to all n-grams of the same length.

    Raises UnusableInput if there is no word in it.
    """
    tokens = list(words(text))
    if not tokens:
        raise UnusableInput("no word of any script in the text; give a text with letters")
    counts = {n: Counter(gram for word in tokens for gram in ngrams(word, n)) for n in LENGTHS}
    totals = {n: sum(counts[n].values()) for n in LENGTHS}
    ranked = sorted(
        ((counts[n][gram], gram) for n in LENGTHS for gram in counts[n]),
        key=lambda pair: (-pair[0], len(pair[1]), pair[1]),
    )
    return {
        "format": FORMAT,
        "language": language,
        "letters": totals[1],
        "words": len(tokens),
        "types": len(set(tokens)),
        "type_token_ratio": round(len(set(tokens)) / len(tokens), 4),
        "bits_per_letter": round(entropy(counts[1]), 4),
        "bits_per_bigram": round(entropy(counts[2]), 4),
        "alphabet": "".join(sorted(counts[1])),
        "distinct_ngrams": len(ranked),
        "ngrams": {gram: round(n / totals[len(gram)], 6) for n, gram in ranked[:KEPT]},
    }


def read_text(path: Path) -> str:
    """The text of a UTF-8 file of at most MAX_BYTES; raises UnusableInput."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UnusableInput(f"{path}: {error.strerror}; name a file that can be read") from error
    if len(data) > MAX_BYTES:
        raise UnusableInput(f"{path}: more than {MAX_BYTES} bytes; split the text")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UnusableInput(
            f"{path}: not UTF-8 at byte {error.start}; convert the file to UTF-8"
        ) from error


def run(text_path: Path, profile_path: Path, language: str) -> dict[str, Any]:
    """Profile the file `text_path` into the file `profile_path`; returns what was written."""
    if not LANGUAGE.fullmatch(language):
        raise UnusableInput(f"language {language!r}: letters, digits, '_' and '-' only, 2 to 64")
    try:
        result = profile(read_text(text_path), language)
    except UnusableInput as error:
        raise UnusableInput(f"{language}: {error}") from error
    try:
        profile_path.write_text(json.dumps(result, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise UnusableInput(f"{profile_path}: {error.strerror}; name a writable place") from error
    return result


def main(arguments: list[str]) -> int:
    if len(arguments) != 3:
        print("usage: profile.py TEXT PROFILE LANGUAGE", file=sys.stderr)
        return 2
    try:
        result = run(Path(arguments[0]), Path(arguments[1]), arguments[2])
    except UnusableInput as error:
        print(f"profile: {error}", file=sys.stderr)
        return 2
    print(
        f"{result['language']}: {result['letters']} letters in {result['words']} words, "
        f"an alphabet of {len(result['alphabet'])}, {result['bits_per_letter']:.2f} bits a letter; "
        f"kept {len(result['ngrams'])} of {result['distinct_ngrams']} n-grams",
        flush=True,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
