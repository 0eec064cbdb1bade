"""A site's task: takes part in one exchange with a vector in place of a trainer. Sent as the task's input."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ayni.channel import Channel
from ayni.lm.config import load
from ayni.lm.inner.progress import Progress, Stretch
from ayni.lm.outer.blocks import CHUNK, Digest, sizes
from ayni.lm.outer.fragments import WHOLE
from ayni.lm.participant import Participant
from ayni.lm.site import _until_taken, work

Floats = Any
BEFORE = 9  # the seed of the weights before


def part(number: int) -> str:
    return f"part-{number:06}"


def vector(count: int, seed: int) -> Iterator[tuple[str, Floats]]:
    """A long vector in parts of 16 MiB, Laplace-distributed, as updates are."""
    one = (1e-3 * np.random.default_rng(seed).laplace(size=CHUNK)).astype(np.float32)
    twice = np.concatenate([one, one])  # a part is a view: a real model's weights are there, too
    for number, size in enumerate(sizes(count)):
        start = -number % CHUNK
        yield part(number), twice[start : start + size]


@dataclass(frozen=True)
class Part:
    shape: tuple[int]


class Vector:
    """What `Participant` asks of a trainer, of a vector. The weights before are made, not kept."""

    def __init__(self, count: int, seed: int, go: Callable[[], None], held: Callable[[], None]):
        self.parameters = {part(n): Part((size,)) for n, size in enumerate(sizes(count))}
        self.fragments = {WHOLE: list(self.parameters)}
        self.progress = Progress()
        self._count, self._seed, self._go, self._held = count, seed, go, held

    def digest(self, fragment: str = WHOLE) -> str:
        whole = Digest()
        for _, array in vector(self._count, BEFORE):
            whole.add(array)
        return whole.hex()

    def train(self, stretch: Stretch, stop: Callable[[], bool]) -> bool:
        self._go()
        for _ in range(stretch.start, stretch.end):
            self.progress.step_done(1, 1)
        self.progress.add_loss("es", 1.0, stretch.end - stretch.start)
        self.progress.spent(1.0)
        return False

    def save(self) -> None:
        """There is nothing that a successor would need: one exchange is all."""

    def pseudo_gradient(self, fragment: str = WHOLE) -> Iterator[tuple[str, Floats]]:
        return vector(self._count, self._seed)

    def apply(
        self,
        update: Iterator[tuple[str, Floats]],
        version: int,
        fragment: str,
        *,
        mix: float,
        hashed: bool,
    ) -> str:
        whole = Digest()
        for (_, before), (_, step) in zip(vector(self._count, BEFORE), update, strict=True):
            whole.add(before - step)
        self.progress.rebase(version, fragment)
        self.progress.forget(fragment)
        found = whole.hex()
        self._held()
        return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--site", required=True)
    parser.add_argument("--values", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    given = parser.parse_args()
    run, bench = load(Path("run.json")), Channel("bench")

    def stamp(what: str) -> None:
        bench.send("stamp", {"what": what, "at": time.time()})

    def until_told() -> None:
        stamp("ready")
        for message in bench.receive(timeout=600):
            if message.kind == "go":
                break
        stamp("trained")

    trainer: Any = Vector(given.values, given.seed, until_told, lambda: stamp("held"))
    up, down = Channel(run.up), Channel(run.down)
    site = Participant(run, given.site, trainer, up, down, Path("state"))
    work(site, lambda: False)
    _until_taken(up)
    _until_taken(bench)


if __name__ == "__main__":
    main()
