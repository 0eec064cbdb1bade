"""Several documents in one row, none of which sees another.

A mask is always made here and handed over: left alone, transformers finds packed rows only by their
positions and only where no 2-D mask is given, and says nothing where it does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.attention.flex_attention import create_block_mask

from ayni.lm.inner.order import Integers, Row

#: The target of a token that has no successor in its document; what `cross_entropy` skips.
IGNORED = -100


@dataclass(frozen=True)
class Batch:
    """Rows as tensors, each [rows, length]. Positions begin at 0 with every document."""

    tokens: Tensor
    positions: Tensor
    targets: Tensor
    languages: Tensor  # of the target; places in `Order.languages`

    @property
    def predicted(self) -> int:
        """How many tokens are predicted."""
        return int((self.targets != IGNORED).sum())

    def inputs(self, attention: str) -> tuple[Tensor, Tensor, Tensor, Any]:
        """What `model.Trainee` is called with."""
        return self.tokens, self.positions, self.targets, mask(self.positions, attention)

    def split(self, rows: int) -> list[Batch]:
        """Parts of at most so many rows."""
        columns = (self.tokens, self.positions, self.targets, self.languages)
        return [Batch(*part) for part in zip(*(c.split(rows) for c in columns), strict=True)]

    def to(self, device: Any) -> Batch:
        columns = (self.tokens, self.positions, self.targets, self.languages)
        return Batch(*(c.to(device, non_blocking=True) for c in columns))

    def pinned(self) -> Batch:
        """In memory from which a GPU reads while the CPU goes on."""
        columns = (self.tokens, self.positions, self.targets, self.languages)
        return Batch(*(c.pin_memory() for c in columns))


def batch(rows: Sequence[Row]) -> Batch:
    """Rows of `length + 1` tokens as inputs and targets of `length`; on the CPU."""
    tokens, segments, languages = (
        np.stack(column)
        for column in zip(*((r.tokens, r.segments, r.languages) for r in rows), strict=True)
    )
    follows = segments[:, 1:] == segments[:, :-1]
    targets = np.where(follows, tokens[:, 1:], IGNORED)
    columns = (tokens[:, :-1], _positions(segments[:, :-1]), targets, languages[:, 1:])
    return Batch(*(torch.from_numpy(np.ascontiguousarray(column)) for column in columns))


def _positions(segments: Integers) -> Integers:
    places = np.broadcast_to(np.arange(segments.shape[1]), segments.shape)
    begins = np.ones(segments.shape, dtype=bool)
    begins[:, 1:] = segments[:, 1:] != segments[:, :-1]
    starts: Integers = np.maximum.accumulate(np.where(begins, places, 0), axis=1)
    return places - starts


def add_losses(sums: Tensor, losses: Tensor, part: Batch) -> None:
    """Add the losses of a batch's tokens to the sums: [languages, (nats, tokens)], float64."""
    counted = (part.targets != IGNORED).flatten()
    pairs = torch.stack([losses.detach().double(), counted.double()], dim=1)
    sums.index_add_(0, part.languages.flatten(), pairs * counted[:, None])


def attention() -> str:
    """transformers' name for the attention that is used on this machine's device."""
    return "flex_attention" if torch.cuda.is_available() else "sdpa"


def mask(positions: Tensor, kind: str) -> Any:
    """Who may look at whom, from positions [rows, length]: backwards, within the same document.

    For sdpa a boolean tensor [rows, 1, length, length]; for flex attention a block mask, which
    skips blocks between documents (PyTorch 2.13's CPU kernel has no backward pass, hence the two).
    """
    documents = (positions == 0).cumsum(-1, dtype=torch.int32)
    rows, length = positions.shape
    if kind == "sdpa":
        same = documents[:, :, None] == documents[:, None, :]
        return same.tril()[:, None]

    def allowed(row: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (query >= key) & (documents[row, query] == documents[row, key])

    make = _compiled_block_mask() if positions.is_cuda else create_block_mask
    return make(allowed, rows, None, length, length, device=positions.device)


@cache
def _compiled_block_mask() -> Any:
    """Compiled, nothing of [rows, length, length] is ever in memory."""
    return torch.compile(create_block_mask, dynamic=False)
