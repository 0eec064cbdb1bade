"""What a contribution weighs in a merge.

By tokens since its base version (as in Decoupled DiLoCo, arXiv 2604.21428), less for each version that
it is behind: with λ = 0.25 and a window of two versions one study lost less than by dropping what is late.
"""

from __future__ import annotations

from collections.abc import Sequence

DECAY = 0.25
WINDOW = 2  # versions behind the global one at which a contribution is still taken


def raw_weight(tokens: int, staleness: int, decay: float = DECAY) -> float:
    """tokens × 1/(1 + decay · staleness)."""
    return tokens / (1.0 + decay * staleness)


def shares(raw: Sequence[float]) -> list[float]:
    """Raw weights over their sum, which is taken in the order given.

    Raises:
        ValueError: a weight is not positive, or there is none.
    """
    if not raw or not all(weight > 0 for weight in raw):
        raise ValueError("weights are positive, and there is one at least")
    total = 0.0
    for weight in raw:
        total += weight
    return [weight / total for weight in raw]


def clip(norm: float, limit: float | None) -> float:
    """The factor that brings a vector of this norm to the limit; 1 where it is within it."""
    return 1.0 if limit is None or norm <= limit else limit / norm
