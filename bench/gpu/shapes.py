"""What is trained: models, and documents to read."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ayni.lm.inner.order import Order
from ayni.lm.inner.settings import Shape
from ayni.lm.plan import flops_per_token

#: Dense bfloat16 FLOP/s of an H100 or H200 (SXM), by its maker's data sheet.
PEAK = 989e12


@dataclass(frozen=True)
class Work:
    """A model and a step: `rows` of the model's context, `micro` of them at once."""

    shape: Shape
    rows: int
    micro: int
    plain_micro: int  # of transformers' Trainer, which keeps more activations

    @property
    def tokens(self) -> int:
        """Of a step."""
        return self.rows * self.shape.context

    def order(self) -> Order:
        return Order(Synthetic(self.shape), seed=0, site="bench", length=self.shape.context)

    def flops(self, pairs: float | None = None) -> float:
        """Of a step; `pairs`: a token's keys, by default half a row."""
        whole = flops_per_token(self.shape, self.shape.context)
        if pairs is not None:
            attention = 6 * self.shape.layers * self.shape.hidden_size
            whole += attention * (2 * pairs - self.shape.context)
        return self.tokens * whole


def _shape(**given: Any) -> Shape:
    return Shape(**{"context": 4096, "rope_theta": 500_000.0, **given})


WORKS = {
    #: 1.04 billion parameters with heads of 128 and a vocabulary of our own tokenizer's size
    "1b": Work(
        _shape(
            vocab_size=32768,
            hidden_size=2048,
            intermediate_size=8192,
            layers=16,
            heads=16,
            kv_heads=8,
        ),
        rows=16,
        micro=8,
        plain_micro=4,
    ),
    #: the shape of Llama 3.2 1B: 1.24 billion, of which a fifth are embeddings; heads of 64
    "llama-3.2-1b": Work(
        _shape(
            vocab_size=128256,
            hidden_size=2048,
            intermediate_size=8192,
            layers=16,
            heads=32,
            kv_heads=8,
        ),
        rows=16,
        micro=8,
        plain_micro=2,
    ),
    "tiny": Work(
        _shape(
            vocab_size=128, hidden_size=32, intermediate_size=64, layers=2, heads=2, context=128
        ),
        rows=4,
        micro=2,
        plain_micro=1,
    ),
}


class Synthetic:
    """Documents of random tokens, as long as texts are: log-normal, a quarter of a row in the middle."""

    def __init__(self, shape: Shape, documents: int = 2000) -> None:
        draw = np.random.default_rng(0)
        middle = shape.context / 4
        sizes = np.exp(draw.normal(np.log(middle), 1.0, documents))
        self.lengths = np.clip(sizes, 8, 8 * shape.context).astype(np.int64)
        self.language_numbers = np.arange(documents) % 3
        self._starts = np.cumsum(self.lengths) - self.lengths
        self._size = shape.vocab_size

    def __len__(self) -> int:
        return len(self.lengths)

    def language(self, i: int) -> str:
        return ("es", "pt", "quy")[i % 3]

    def tokens(self, i: int) -> Any:
        start = self._starts[i]
        return self._all[start : start + self.lengths[i]]

    @cached_property
    def _all(self) -> Any:
        total = int(self.lengths.sum())
        return np.random.default_rng(1).integers(0, self._size, total, dtype=np.uint32)
