"""Losses on held-out documents, by language."""

from __future__ import annotations

import numpy as np
import torch
from torch.distributed.fsdp import FSDPModule

from ayni.lm.inner import packing
from ayni.lm.inner.model import Trainee
from ayni.lm.inner.order import Documents, Integers, Row, Stream, languages_of
from ayni.lm.inner.progress import Loss
from ayni.lm.inner.ranks import Ranks


def evaluate(
    trainee: Trainee,
    documents: Documents,
    *,
    length: int,
    rows: int = 8,
    ranks: Ranks | None = None,
) -> dict[str, Loss]:
    """The loss of a model on every token of the documents that has one before it in its row.

    Documents are packed as in training, in the order given, and none sees another.

    Args:
        length: of a row, in tokens; a document that is cut goes on without what was before.
        rows: at once, on a rank.
        ranks: that share the work, where the model is spread over several; all must ask.
    """
    names, languages = languages_of(documents)
    stream = Stream(documents, np.arange(len(documents)), length)
    device = next(trainee.parameters()).device
    rank, count = (ranks.rank, ranks.count) if ranks else (0, 1)
    sums = torch.zeros(len(names), 2, dtype=torch.float64, device=device)
    training = trainee.training
    trainee.eval()
    with torch.no_grad():
        for first in range(0, stream.rows + 1, rows * count):  # as often on every rank
            places = range(first + rank * rows, first + (rank + 1) * rows)
            found = [_padded(stream, place, languages, length) for place in places]
            batch = packing.batch(found).to(device)
            _, losses = trainee(*batch.inputs(trainee.attention))
            packing.add_losses(sums, losses, batch)
    trainee.train(training)
    if isinstance(trainee, FSDPModule):
        trainee.reshard()  # else the next forward pass would find the weights of this one
    whole = (ranks.total(sums) if ranks else sums).tolist()
    return {n: Loss(nats, int(tokens)) for n, (nats, tokens) in zip(names, whole, strict=True)}


def _padded(stream: Stream, place: int, languages: Integers, length: int) -> Row:
    """A row of full length: padding is documents of one token each, so that nothing is predicted."""
    tokens = segments = documents = np.zeros(0, np.int64)
    if place <= stream.rows:
        tokens, segments, documents = stream.row(place)
    missing = length + 1 - len(tokens)
    last = segments[-1] if len(segments) else 0
    return Row(
        np.concatenate([tokens, np.zeros(missing, np.int64)]),
        np.concatenate([segments, last + 1 + np.arange(missing)]),
        np.concatenate([languages[documents], np.zeros(missing, np.int64)]),
    )
