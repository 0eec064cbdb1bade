"""A small site: documents of two languages, and a model that learns them in a few steps."""

from __future__ import annotations

from typing import Any

import numpy as np

from ayni.lm.inner.order import Order
from ayni.lm.inner.settings import Data, Optimiser, Schedule, Shape, Training

SHAPE = Shape(
    vocab_size=48, hidden_size=32, intermediate_size=64, layers=2, heads=4, kv_heads=2, context=64
)


class Documents:
    """Documents in memory: each counts upwards from somewhere, in steps of its language."""

    def __init__(self, lengths: list[int], languages: list[str], vocabulary: int = 48) -> None:
        self._languages = languages
        self._tokens = [
            (np.arange(n) * (1 + len(language)) + i) % vocabulary
            for i, (n, language) in enumerate(zip(lengths, languages, strict=True))
        ]

    def __len__(self) -> int:
        return len(self._tokens)

    def tokens(self, i: int) -> Any:
        return self._tokens[i].astype(np.uint16)

    def language(self, i: int) -> str:
        return self._languages[i]

    @property
    def lengths(self) -> Any:
        return np.array([len(tokens) for tokens in self._tokens])

    @property
    def language_numbers(self) -> Any:
        return np.array([sum(language.encode()) for language in self._languages])


def documents() -> Documents:
    return Documents([3 + i * 7 % 41 for i in range(60)], ["es", "es", "quy"] * 20)


def training(**changed: Any) -> Training:
    return Training(
        schedule=Schedule(warmup=3, decay_steps=0),
        optimiser=changed.pop("optimiser", Optimiser(name="adamw", lr=3e-3)),
        data=changed.pop("data", Data(length=24, batch=4)),
        precision="fp32",
        **changed,
    )


def order(settings: Training, site: str = "cl", docs: Documents | None = None) -> Order:
    return Order(
        docs or documents(),
        seed=settings.seed,
        site=site,
        length=settings.data.length,
        temperature=settings.data.temperature,
        max_repeats=settings.data.max_repeats,
    )


def trainer(
    settings: Training | None = None,
    folder: Any = None,
    *,
    site: str = "cl",
    shape: Shape = SHAPE,
    meeting: Any = None,
    fragments: int = 1,
) -> Any:
    """A trainer on this process alone; with a folder it keeps checkpoints there."""
    from ayni.lm.inner import model, ranks
    from ayni.lm.inner.checkpoint import Checkpoints
    from ayni.lm.inner.train import Trainer

    settings = settings or training()
    here = ranks.join("cpu", meeting=meeting)
    kept = Checkpoints(folder, here, keep=settings.keep) if folder else None
    small = model.build(model.config_of(shape), seed=settings.seed)
    rows = order(settings, site)
    return Trainer(settings, small, rows, here, checkpoints=kept, fragments=fragments)
