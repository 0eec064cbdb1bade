"""In which order a site reads its documents: a pure function of (seed, site, epoch, index).

An epoch's documents, shuffled, are one stream of tokens that is cut into rows, and the rows are
shuffled again: else a batch would be a few pages of one book. Row `index` is the same however many
ranks read, and the whole state of reading is that one integer.

No generator of random numbers is used: its stream may change between releases of a library, and
then a resumed run would read other rows. Keys come from a fixed mixing function instead.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ayni.errors import UserError

Integers = NDArray[np.int64]
_GOLDEN = 0x9E3779B97F4A7C15


class Documents(Protocol):
    """A site's tokenised documents, as `corpus.shards.Shards` has them."""

    def __len__(self) -> int: ...

    def tokens(self, i: int) -> NDArray[Any]:
        """The tokens of document `i`, one dimension; may be a view of a memory map."""

    def language(self, i: int) -> str:
        """The language of document `i`."""

    @property
    def lengths(self) -> Integers:
        """The number of tokens of every document."""

    @property
    def language_numbers(self) -> Integers:
        """The language of every document, by a number of the reader's own; a small one."""


@dataclass(frozen=True)
class Row:
    """One row of a batch: `length + 1` tokens, so that each of the first `length` has a successor.

    `segments` tells documents apart (it never falls); `languages` indexes `Order.languages`.
    """

    tokens: Integers
    segments: Integers
    languages: Integers


def languages_of(documents: Documents) -> tuple[list[str], Integers]:
    """The languages by name, sorted, and each document's place among them."""
    numbers = np.asarray(documents.language_numbers, dtype=np.int64)
    if not len(numbers):
        return [], numbers
    numbers = numbers - numbers.min()
    one_of = np.full(int(numbers.max()) + 1, -1)  # a table: sorting many documents takes long
    one_of[numbers] = np.arange(len(numbers))
    here = np.flatnonzero(one_of >= 0)
    names = [documents.language(int(i)) for i in one_of[here]]
    found = sorted(names)
    places = {name: place for place, name in enumerate(found)}
    table = np.zeros(len(one_of), dtype=np.int64)
    table[here] = [places[name] for name in names]
    return found, table[numbers]


class Stream:
    """Documents after one another, in a given order, cut into rows that overlap by one token."""

    def __init__(self, documents: Documents, visits: Integers, length: int) -> None:
        self._documents = documents
        self._visits = visits
        self._lengths = np.asarray(documents.lengths, dtype=np.int64)[visits]
        self._ends = np.cumsum(self._lengths)  # of each visit, in the stream of tokens
        self._length = length

    @property
    def rows(self) -> int:
        """How many whole rows there are; behind the last one at most `length` tokens are left."""
        return max(0, int(self._ends[-1]) - 1) // self._length if len(self._ends) else 0

    def row(self, place: int) -> tuple[Integers, Integers, Integers]:
        """Tokens, segments and documents of a row; shorter at the stream's end."""
        begin = place * self._length
        end = min(begin + self._length + 1, int(self._ends[-1]))
        first = int(np.searchsorted(self._ends, begin, side="right"))
        last = int(np.searchsorted(self._ends, end, side="left"))
        visits = self._visits[first : last + 1]
        lengths = self._lengths[first : last + 1]
        start = int(self._ends[first] - lengths[0])
        text = np.concatenate([self._documents.tokens(int(i)) for i in visits]).astype(np.int64)
        segments = np.repeat(np.arange(len(visits)), lengths)
        here = slice(begin - start, end - start)
        return text[here], segments[here], visits[segments[here]]


@dataclass(frozen=True)
class _Epoch:
    stream: Stream
    rows: Integers  # of the stream, in the order they are read


def repeats(sizes: NDArray[np.int64], temperature: float) -> NDArray[np.float64]:
    """How often a language is read while the largest is read once, before any cap.

    Sampling weights are size ** (1 / temperature): 1 keeps the sizes' proportions, more evens them
    out. `sizes` are tokens, one to a language, all positive.
    """
    share = np.asarray(sizes, dtype=np.float64) / sizes.max()
    return np.asarray(share ** (1 / temperature - 1))


def capped(wanted: NDArray[np.float64], epoch: int, most: float) -> NDArray[np.float64]:
    """The repeats of one epoch, when over the run a language is oversampled to at most `most` readings.

    What has reached the cap is read once an epoch from then on, like the largest language: a cap
    below the number of epochs cannot take the largest language out of the run.
    """
    seen = np.zeros_like(wanted)
    now = wanted
    for _ in range(epoch + 1):
        now = np.maximum(1.0, np.minimum(wanted, most - seen))
        seen = seen + now
        if (now == 1.0).all():  # and so it stays
            break
    return now


class Order:
    """The rows that a site trains on, by index."""

    def __init__(
        self,
        documents: Documents,
        *,
        seed: int,
        site: str,
        length: int,
        temperature: float = 1.0,
        max_repeats: float = 4.0,
    ) -> None:
        self.documents = documents
        self.length = length
        self._name = f"{seed}/{site}"
        self._most = max_repeats
        lengths = np.asarray(documents.lengths, dtype=np.int64)
        if lengths.sum() <= length:
            raise UserError(
                f"{site} holds {lengths.sum()} tokens, fewer than one row of data.length = {length}: "
                "give it more text, or shorten data.length"
            )
        self.languages, self._languages = languages_of(documents)
        sizes = np.bincount(self._languages, lengths, len(self.languages)).astype(np.int64)
        self._wanted = repeats(np.maximum(sizes, 1), temperature)
        self._epoch = lru_cache(maxsize=2)(self._make_epoch)
        self._starts = [0]  # the first row of each epoch that was needed so far

    def row(self, index: int) -> Row:
        """The row with that index; there is no last one, epochs follow each other."""
        number, place = self.locate(index)
        epoch = self._epoch(number)
        tokens, segments, documents = epoch.stream.row(int(epoch.rows[place]))
        return Row(tokens, segments, self._languages[documents])

    def locate(self, index: int) -> tuple[int, int]:
        """The epoch of a row, and which of the epoch's rows it is."""
        while index >= self._starts[-1]:
            self._starts.append(self._starts[-1] + len(self._epoch(len(self._starts) - 1).rows))
        number = int(np.searchsorted(self._starts, index, side="right")) - 1
        return number, index - self._starts[number]

    def _make_epoch(self, number: int) -> _Epoch:
        times = capped(self._wanted, number, self._most)[self._languages]
        documents = np.arange(len(self._languages))
        chance = _mix(self._key(number, "readings"), documents) / 2.0**64
        copies = (np.floor(times) + (chance < times % 1)).astype(np.int64)
        visits = np.repeat(documents, copies)
        copy = np.arange(len(visits)) - np.repeat(np.cumsum(copies) - copies, copies)
        order = _sorted(_mix(self._key(number, "documents"), visits, copy))
        stream = Stream(self.documents, visits[order], self.length)
        rows = _mix(self._key(number, "rows"), np.arange(stream.rows))
        return _Epoch(stream, _sorted(rows))

    def _key(self, epoch: int, purpose: str) -> int:
        name = f"{self._name}/{epoch}/{purpose}"
        return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")


def _sorted(keys: NDArray[np.uint64]) -> Integers:
    """The places of the keys by size, equal ones as they come: a stable sort, several times as fast.

    Keys are almost never equal, and processors sort 64-bit numbers fast if nothing else is asked.
    """
    order = np.argsort(keys)
    found = keys[order]
    if (found[1:] == found[:-1]).any():
        return np.argsort(keys, kind="stable")
    return order


def _mix(key: int, *columns: Integers) -> NDArray[np.uint64]:
    """64 well mixed bits for each row of the columns (SplitMix64's finaliser, Steele et al. 2014)."""
    bits = np.full(len(columns[0]), key, dtype=np.uint64)
    for column in columns:
        bits = (bits ^ column.astype(np.uint64)) + np.uint64(_GOLDEN)
        bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        bits = bits ^ (bits >> np.uint64(31))
    return bits
