"""Many sites' counts as one: each language weighted, so that small ones get tokens of their own.

Left to their sizes, Spanish would fill the vocabulary and Shipibo be spelt byte by byte. As in
multilingual models since XLM (Conneau and Lample 2019, 3.1) a language of share p of the bytes counts as
one of share p ** alpha: alpha 1 keeps the sizes, 0 makes all languages equal. How often a small
language's text is repeated by that is bounded: what is read from few texts is not the language.

Weights are whole numbers, by decimal arithmetic that is the same on every machine.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Context, Decimal

from ayni.errors import UserError
from ayni.lm.tokenizer.counts import Counts

ALPHA = Decimal("0.3")
MAX_REPEAT = 100
UNIT = 256  # the weight of the language that is repeated least
_EXACT = Context(prec=50, rounding=ROUND_HALF_EVEN)


@dataclass(frozen=True)
class Weighed:
    """Words with their weighted counts, and what became of each language."""

    words: dict[str, int]
    bytes: dict[str, int]  # by language, at all sites
    weights: dict[str, int]  # by language, in units of 1/UNIT


def weigh(sites: Sequence[Counts], alpha: Decimal = ALPHA, max_repeat: int = MAX_REPEAT) -> Weighed:
    """Add up the sites' counts. The order of the sites makes no difference.

    Raises:
        UserError: nothing to add up, or sites that held out different shares.
    """
    if len({counts.header.heldout for counts in sites}) > 1:
        raise UserError(
            "the sites held out different shares; count with the same --held-out everywhere"
        )
    sizes: Counter[str] = Counter()
    for counts in sites:
        for language, totals in counts.header.languages.items():
            if counts.words[language]:
                sizes[language] += totals.bytes
    if not +sizes:
        raise UserError(
            "no words in the counts: no word stands in enough documents; give more text"
        )
    weights = weights_of(+sizes, alpha, max_repeat)
    words: Counter[str] = Counter()
    for counts in sites:
        for language, found in counts.words.items():
            weight = weights.get(language, 0)
            for word, count in found.items():
                words[word] += weight * count
    return Weighed(dict(words), dict(sorted(sizes.items())), weights)


def weights_of(
    sizes: Counter[str], alpha: Decimal = ALPHA, max_repeat: int = MAX_REPEAT
) -> dict[str, int]:
    """The weight of a word of each language: `UNIT` in the largest one, up to `max_repeat` times that."""
    largest = max(sizes.values())
    found = {}
    for language, size in sorted(sizes.items()):
        repeat = _EXACT.power(_EXACT.divide(Decimal(largest), Decimal(size)), 1 - alpha)
        found[language] = int((min(repeat, Decimal(max_repeat)) * UNIT).to_integral_value())
    return found
