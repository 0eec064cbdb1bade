"""Losses on held-out documents, by language."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ayni.lm.inner import packing
from ayni.lm.inner.model import Trainee
from ayni.lm.inner.order import Documents, Row, Stream, languages_of
from ayni.lm.inner.progress import Loss


def evaluate(model: Any, documents: Documents, *, length: int, rows: int = 8) -> dict[str, Loss]:
    """The loss of a model on every token of the documents that has one before it in its row.

    Documents are packed as in training, in the order given, and none sees another.

    Args:
        length: of a row, in tokens; a document that is cut goes on without what was before.
        rows: at once.
    """
    names, languages = languages_of(documents)
    stream = Stream(documents, np.arange(len(documents)), length)
    found = [_padded(stream.row(i), languages, length) for i in range(stream.rows + 1)]
    trainee = Trainee(model)
    device = next(model.parameters()).device
    losses = {name: Loss() for name in names}
    training = model.training
    model.eval()
    with torch.no_grad():
        for start in range(0, len(found), rows):
            batch = packing.batch(found[start : start + rows]).to(device)
            mask = packing.mask(batch.positions, model.config._attn_implementation)
            nats = trainee(batch.tokens, batch.positions, batch.targets, mask).double().cpu()
            _add(losses, names, batch, nats)
    model.train(training)
    return losses


def _add(losses: dict[str, Loss], names: list[str], batch: packing.Batch, nats: Any) -> None:
    counted = (batch.targets != packing.IGNORED).cpu()
    for place in batch.languages.unique().tolist():
        here = counted & (batch.languages.cpu() == place)
        losses[names[place]].nats += float(nats[here].sum())
        losses[names[place]].tokens += int(here.sum())


def _padded(row: tuple[Any, Any, Any], languages: Any, length: int) -> Row:
    """A row of full length: padding is documents of one token each, so that nothing is predicted."""
    tokens, segments, documents = row
    missing = length + 1 - len(tokens)
    last = segments[-1] if len(segments) else 0
    return Row(
        np.concatenate([tokens, np.zeros(missing, np.int64)]),
        np.concatenate([segments, last + 1 + np.arange(missing)]),
        np.concatenate([languages[documents], np.zeros(missing, np.int64)]),
    )
