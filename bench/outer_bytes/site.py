"""A site's task: the real trainer on texts that are made here. Sent as the task's input."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from ayni.channel import Channel
from ayni.lm.config import load
from ayni.lm.inner import model, ranks
from ayni.lm.inner.order import Order
from ayni.lm.inner.train import Trainer
from ayni.lm.participant import Participant
from ayni.lm.site import _until_taken, work

DOCUMENTS, LENGTH = 200, 2000


class Texts:
    """Documents of a language of its own: the next byte by the last, from a table."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        chances = np.cumsum(rng.dirichlet(np.full(64, 0.05), 64), axis=1)
        found = np.zeros((DOCUMENTS, LENGTH), np.uint8)
        for at in range(1, LENGTH):
            roll = rng.random((DOCUMENTS, 1))
            found[:, at] = (chances[found[:, at - 1]] < roll).sum(axis=1).clip(max=63)
        self._found = found

    def __len__(self) -> int:
        return DOCUMENTS

    def tokens(self, i: int) -> Any:
        return self._found[i]

    def language(self, i: int) -> str:
        return "es"

    @property
    def lengths(self) -> Any:
        return np.full(DOCUMENTS, LENGTH)

    @property
    def language_numbers(self) -> Any:
        return np.zeros(DOCUMENTS, np.int64)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--site", required=True)
    parser.add_argument("--seed", type=int, required=True)
    given = parser.parse_args()
    run = load(Path("run.json"))
    settings, shape = run.training, run.model.shape
    assert shape is not None
    order = Order(Texts(given.seed), seed=0, site=given.site, length=settings.data.length)
    net = model.build(model.config_of(shape), seed=settings.seed)
    trainer = Trainer(settings, net, order, ranks.join("cpu"))
    up, down = Channel(run.up), Channel(run.down)
    work(Participant(run, given.site, trainer, up, down, Path("state")), lambda: False)
    _until_taken(up)


if __name__ == "__main__":
    main()
