"""How large what is trained is, and where."""

from __future__ import annotations

from dataclasses import dataclass

from ayni.lm.inner.settings import Shape

SITES = 3


@dataclass(frozen=True)
class Scale:
    """A model, and a site's step: `rows` of `length` tokens. `encoded`: what is exchanged is encoded,
    merged and decoded as in a run; else the same arithmetic is done where the weights are.
    """

    shape: Shape
    rows: int
    length: int
    steps: int
    precision: str = "fp32"
    encoded: bool = True


#: 0.85 million parameters on bytes: a core's work of a minute or two.
SMALL = Scale(
    Shape(vocab_size=256, hidden_size=128, intermediate_size=360, layers=4, heads=4, context=64),
    rows=4,
    length=64,
    steps=1000,
)
#: 35 million parameters on tokens: a GPU's work of some minutes.
MEDIUM = Scale(
    Shape(
        vocab_size=16384,
        hidden_size=512,
        intermediate_size=1472,
        layers=8,
        heads=8,
        context=1024,
    ),
    rows=8,
    length=1024,
    steps=3600,
    precision="auto",
    encoded=False,
)
SCALES = {"small": SMALL, "medium": MEDIUM}
