"""Byte-level BPE as simply as it can be said; slow, and written without looking at the trainer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise

from ayni.lm.tokenizer.bpe import Merge
from ayni.lm.tokenizer.pretokens import pretokens


def learn(words: Mapping[bytes, int], most: int) -> list[Merge]:
    """Count all pairs again before each merge."""
    cut = {word: [bytes([value]) for value in word] for word in words}
    tokens = {bytes([value]) for value in range(256)}
    merges: list[Merge] = []
    while len(merges) < most:
        pairs: Counter[Merge] = Counter()
        for word, parts in cut.items():
            for pair in pairwise(parts):
                if pair[0] + pair[1] not in tokens:
                    pairs[pair] += words[word]
        ranked = sorted((-count, pair) for pair, count in pairs.items() if count > 0)
        if not ranked:
            break
        pair = ranked[0][1]
        merges.append(pair)
        tokens.add(pair[0] + pair[1])
        cut = {word: joined(parts, pair) for word, parts in cut.items()}
    return merges


def joined(parts: Sequence[bytes], pair: Merge) -> list[bytes]:
    """The parts with the pair made one wherever it stands, from left to right."""
    found: list[bytes] = []
    place = 0
    while place < len(parts):
        if tuple(parts[place : place + 2]) == pair:
            found.append(pair[0] + pair[1])
            place += 2
        else:
            found.append(parts[place])
            place += 1
    return found


def encode(text: str, merges: Sequence[Merge]) -> list[bytes]:
    """The tokens of a text: in each pre-token, always the merge that was learnt first."""
    ranks = {pair: rank for rank, pair in enumerate(merges)}
    found: list[bytes] = []
    for word in pretokens(text):
        parts = [bytes([value]) for value in word.encode()]
        while known := [p for p in pairwise(parts) if p in ranks]:
            parts = joined(parts, min(known, key=ranks.__getitem__))
        found += parts
    return found
