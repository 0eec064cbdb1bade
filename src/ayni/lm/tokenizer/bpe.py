"""Byte-level BPE from weighted counts (Sennrich et al. 2016; Gage 1994), the same on every machine.

The most frequent pair of neighbouring tokens becomes a token, again and again. Counts are whole numbers,
and of equally frequent pairs the one that comes first in the order of its bytes is taken. Pairs whose
bytes are a token already are left alone: every token is made in one way only.
"""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Callable, Mapping

Merge = tuple[bytes, bytes]
_BYTES = 256
_GONE = -1


def learn(
    words: Mapping[bytes, int], most: int, progress: Callable[[int], None] | None = None
) -> list[Merge]:
    """Up to `most` merges; fewer where no pair is left. `words` are pre-tokens with their weights.

    The order of `words` makes no difference. About 20 bytes of memory for each byte of the words, and
    time that grows with how often pairs stand in distinct words, not with their counts.
    """
    learner = _Learner(words)
    found: list[Merge] = []
    while len(found) < most and (merge := learner.step()) is not None:
        found.append(merge)
        if progress is not None:
            progress(len(found))
    return found


class _Learner:
    """All words as one row of symbols, linked forwards and backwards; pairs know where they stand.

    A pair is the number `left << 32 | right`. A heap holds pairs by count; its entries may be out of
    date, but only too high: what rises is entered again at once, what falls when it comes to the top.
    """

    def __init__(self, words: Mapping[bytes, int]) -> None:
        self._tokens = [bytes([value]) for value in range(_BYTES)]
        self._known = set(self._tokens)
        self._symbols = array("l")
        self._next = array("l")
        self._back = array("l")
        self._weights: list[int] = []  # by word
        self._word = array("l")  # by position
        self._counts: dict[int, int] = {}
        self._places: dict[int, array[int]] = {}
        for word, weight in sorted(words.items()):
            if weight > 0 and word:
                self._lay(word, weight)
        self._heap = [self._entry(pair) for pair in self._counts]
        heapq.heapify(self._heap)

    def _lay(self, word: bytes, weight: int) -> None:
        start, end = len(self._symbols), len(self._symbols) + len(word)
        self._symbols.extend(word)
        self._next.extend(range(start + 1, end + 1))
        self._back.extend(range(start - 1, end - 1))
        self._next[end - 1] = self._back[start] = _GONE
        self._word.extend([len(self._weights)] * len(word))
        self._weights.append(weight)
        for place, left, right in zip(range(start, end), word, word[1:], strict=False):
            self._more(left << 32 | right, weight, place)

    def _entry(self, pair: int) -> tuple[int, bytes, bytes, int]:
        left, right = self._tokens[pair >> 32], self._tokens[pair & 0xFFFFFFFF]
        return -self._counts[pair], left, right, pair

    def _more(self, pair: int, weight: int, place: int) -> None:
        if pair in self._counts:
            self._counts[pair] += weight
            self._places[pair].append(place)
        else:
            self._counts[pair] = weight
            self._places[pair] = array("l", (place,))

    def step(self) -> Merge | None:
        """The best pair becomes a token wherever it stands; None if there is no pair left."""
        while self._heap:
            entry = heapq.heappop(self._heap)
            pair = entry[3]
            count = self._counts.get(pair, 0)
            if count != -entry[0]:
                if count > 0:
                    heapq.heappush(self._heap, self._entry(pair))
                continue
            if entry[1] + entry[2] not in self._known:
                self._merge(pair)
                return entry[1], entry[2]
        return None

    def _merge(self, pair: int) -> None:
        left, right = pair >> 32, pair & 0xFFFFFFFF
        made = len(self._tokens)
        self._tokens.append(self._tokens[left] + self._tokens[right])
        self._known.add(self._tokens[made])
        symbols, following, back = self._symbols, self._next, self._back
        counts, risen = self._counts, set[int]()
        del counts[pair]
        for place in sorted(self._places.pop(pair)):
            after = following[place]
            if symbols[place] != left or after == _GONE or symbols[after] != right:
                continue  # one of two that overlapped, as in aaa, or gone before
            weight = self._weights[self._word[place]]
            before, beyond = back[place], following[after]
            symbols[place], symbols[after] = made, _GONE
            following[place] = beyond
            if beyond != _GONE:
                back[beyond] = place
                self._less(right << 32 | symbols[beyond], weight)
                risen.add(made << 32 | symbols[beyond])
                self._more(made << 32 | symbols[beyond], weight, place)
            if before != _GONE:
                self._less(symbols[before] << 32 | left, weight)
                risen.add(symbols[before] << 32 | made)
                self._more(symbols[before] << 32 | made, weight, before)
        for other in risen:
            if counts.get(other, 0) > 0:
                heapq.heappush(self._heap, self._entry(other))

    def _less(self, pair: int, weight: int) -> None:
        """The pair stands in one place less. It may be the one that is being merged, which is gone."""
        if pair in self._counts:
            self._counts[pair] -= weight
            if self._counts[pair] <= 0:
                del self._counts[pair], self._places[pair]
