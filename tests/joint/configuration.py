"""The run that is disturbed, and left alone: a small model, the plain mean, rounds of one length."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from ayni.lm import config
from ayni.lm.config import Run

_RUN = """
run = "{name}"

[model.shape]
vocab_size = {words}
hidden_size = 64
intermediate_size = 128
layers = 2
heads = 4
context = 64

[training]
precision = "fp32"
seed = {seed}
checkpoint_every = 10

[training.optimiser]
name = "adamw"
lr = 0.003

[training.schedule]
warmup = 20
decay_from = {decay_from}
decay_steps = {decay_steps}

[training.data]
length = 64
batch = 8

[outer]
steps = {steps}
phases = [{{ from_step = 0, inner_steps = {inner_steps} }}]
quorum = {quorum}
grace = {grace}
snapshot_every = 5
"""
_SITE = """
[[sites]]
site = "{site}"
data = "ayni://{site}/shards-{site}/"
volume = "{name}"
image = "python"
mem = "1500M"
time = "{time}s"
warning = "{warning}s"
"""


@dataclass(frozen=True)
class Plan:
    """What is the same in all runs of one comparison.

    Attributes:
        words: of the tokenizer.
        inner_steps: of a round.
        time: of a link of a site's chain, in seconds.
        warning: seconds before its end at which it is told.
        partition: where a site's tasks run.
        grace: seconds for which the others wait for a site that is late.
        nodes: over how many a site trains, where that is not one.
    """

    words: int
    inner_steps: int
    time: int
    warning: int
    partition: str | None = None
    grace: float = 4.0
    nodes: Mapping[str, int] = field(default_factory=dict)

    def undisturbed(self) -> Plan:
        """The same in one link."""
        return replace(self, time=1200, warning=15, partition=None)

    def write(self, folder: Path, name: str, *, seed: int, steps: int, quorum: int = 2) -> Path:
        """`run.toml` of one run."""
        text = _RUN.format(
            name=name, words=self.words, seed=seed, steps=steps, inner_steps=self.inner_steps,
            quorum=quorum, grace=self.grace, decay_from=steps // 2, decay_steps=steps - steps // 2,
        )  # fmt: skip
        for site in ("bogota", "mexico", "santiago"):
            text += _SITE.format(site=site, name=name, time=self.time, warning=self.warning)
            text += f'partition = "{self.partition}"\n' if self.partition else ""
            text += f"nodes = {self.nodes[site]}\n" if site in self.nodes else ""
        path = folder / f"{name}.toml"
        path.write_text(text)
        return path

    def load(self, folder: Path, name: str, *, seed: int, steps: int) -> Run:
        """The same run where nobody is late: all three sites are waited for."""
        return config.load(self.write(folder, name, seed=seed, steps=steps, quorum=3))
