"""What a released model makes of texts that stay at a site: losses and exposure. Only figures come out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from ayni.errors import UserError
from ayni.lm.corpus.canaries import Canaries, Sequences, alphabet, sequences
from ayni.lm.corpus.shards import Joined
from ayni.lm.inner import model, packing
from ayni.lm.inner.evaluate import evaluate
from ayni.lm.release import sums
from ayni.lm.release.evidence import Exposure, Loss, Losses, Planted, bounded, spread
from ayni.lm.release.opened import opened

LENGTH = 1024  # tokens in a row, where the model reads so many
CANDIDATES = 9999
CONTROL = 256  # sequences that were never planted
_TOKENS = 1 << 13  # at once


def losses(folder: Path, shards: Sequence[Path], *, length: int | None = None) -> Losses:
    """A model's losses on what is held out, by language.

    Args:
        folder: of `ayni lm export`.
        shards: folders made with the model's tokenizer; several are taken as one.
        length: of a row; by default the model's context, but no more than 1,024.

    Raises:
        UserError: no such model or shards, another tokenizer, or nothing is held out.
    """
    net, words = opened(folder, attention=packing.attention())
    documents = Joined(shards, "heldout")
    for part in documents.parts:
        _same(folder, words.sha256, part.folder, part.manifest.tokenizer.sha256)
    if not len(documents):
        raise UserError(
            f"nothing is held out in {', '.join(map(str, shards))}: pack it with a share"
        )
    net.to(_device())
    rows = min(length or LENGTH, net.config.max_position_embeddings)
    model.check_length(net.config, rows)
    found = evaluate(model.Trainee(net), documents, length=rows, rows=max(1, _TOKENS // rows))
    sites = {origin.site for part in documents.parts for origin in part.manifest.origins}
    return Losses(
        weights=sums.weights_of(folder),
        tokenizer=words.sha256,
        sites=tuple(sorted(sites)),
        length=rows,
        languages=bounded(
            {
                name: Loss(loss=one.mean, tokens=one.tokens, bytes=_bytes(documents, name))
                for name, one in found.items()
                if one.tokens
            }
        ),
    )


def exposure(folder: Path, planted: Canaries, *, candidates: int = CANDIDATES) -> Exposure:
    """How exposed a site's canaries are in a model (Carlini et al., arXiv 1802.08232).

    The exposure of a canary is log2 |R| - log2 rank: R are all sequences of its form, and its rank is
    by log-perplexity, the likeliest first. R cannot be counted through; the rank's share of it is
    estimated among sampled sequences (the paper's approximation by sampling), so that the exposure
    is at most log2 (candidates + 1). `CONTROL` sequences that were never planted
    show what chance gives.

    Raises:
        UserError: no such model, another tokenizer, or canaries longer than the model reads.
    """
    net, words = opened(folder)
    _same(folder, words.sha256, Path("the canaries"), planted.tokenizer)
    if planted.length > net.config.max_position_embeddings:
        raise UserError(
            f"the canaries have {planted.length} tokens, the model reads "
            f"{net.config.max_position_embeddings}: plant shorter ones"
        )
    letters = alphabet(words)
    if not all(np.isin(group.sequences, letters).all() for group in planted.groups):
        raise UserError(
            "the canaries hold tokens that the tokenizer has not: pack the corpus again"
        )
    net.to(_device())
    others = _surprise(
        net, sequences(planted.key("candidates"), candidates, planted.length, letters)
    )
    others.sort()

    def bits(found: Sequences) -> list[float]:
        better = np.searchsorted(others, _surprise(net, found), side="left")
        return [math.log2((candidates + 1) / (1 + int(rank))) for rank in better]

    unplanted = sequences(planted.key("control"), CONTROL, planted.length, letters)
    groups = [(g.times, spread(bits(np.array(g.sequences)))) for g in planted.groups]
    return Exposure(
        weights=sums.weights_of(folder),
        tokenizer=words.sha256,
        sites=(planted.site,),
        length=planted.length,
        candidates=candidates,
        bound=math.log2(candidates + 1),
        planted=tuple(Planted(times=times, **found.model_dump()) for times, found in groups),
        control=spread(bits(unplanted)),
    )


def _bytes(documents: Joined, language: str) -> int | None:
    amounts = (part.manifest.amounts["heldout"].get(language) for part in documents.parts)
    return sum(amount.bytes for amount in amounts if amount) or None


def _same(folder: Path, own: str, other: Path, tokenizer: str) -> None:
    if own != tokenizer:
        raise UserError(
            f"{other} was made with another tokenizer ({tokenizer[:12]}…) than {folder} has "
            f"({own[:12]}…): name the model's own"
        )


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def _surprise(net: Any, found: Sequences) -> Any:
    """The log-perplexity of each sequence after its first token, in nats: [sequences], float64.

    The first is not counted: in training nothing stands before a document's first token.
    """
    device = next(net.parameters()).device
    totals = []
    with torch.no_grad():
        for part in torch.from_numpy(found.astype(np.int64)).split(
            max(1, _TOKENS // found.shape[1])
        ):
            tokens = part.to(device)
            logits = net(input_ids=tokens[:, :-1], use_cache=False).logits.float()
            each = F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), reduction="none")
            totals.append(each.double().view(len(part), -1).sum(1).cpu())
    return torch.cat(totals).numpy()
