"""Weights in the Hugging Face layout: config.json, model.safetensors, tokenizer.json."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import torch

from ayni.errors import UserError
from ayni.lm.inner import model
from ayni.lm.outer.blocks import Floats
from ayni.lm.parameters import check_shapes
from ayni.lm.tokenizer import model as tokenizers

Precision = Literal["float32", "bfloat16"]


def export(
    folder: Path,
    config: Any,
    weights: Iterable[tuple[str, Floats]],
    tokenizer: Path,
    *,
    precision: Precision = "float32",
) -> None:
    """Write a folder that plain transformers loads; it appears whole or not at all.

    Args:
        folder: must not be there yet.
        config: of the run's model (`inner.model`).
        weights: all of them, in any order.
        tokenizer: the run's folder with `tokenizer.json`.

    Raises:
        UserError: the folder is there, the weights are another model's, the tokenizer has more words
            than the model or cannot be read, or the disk is full.
    """
    if folder.exists():
        raise UserError(f"{folder} is there already: name a new folder")
    words = tokenizers.load(tokenizer)
    if words.size > config.vocab_size:
        raise UserError(
            f"{tokenizer} has {words.size} words, the model {config.vocab_size}: it is another's"
        )
    net = _filled(config, weights).to(getattr(torch, precision))
    net.config.use_cache = True
    net.config.eos_token_id = net.generation_config.eos_token_id = words.end
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as place:
            part = Path(place) / folder.name
            net.save_pretrained(part)
            tokenizers.keep(tokenizer, part)
            part.rename(folder)
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error.strerror or error}") from error


def _filled(config: Any, weights: Iterable[tuple[str, Floats]]) -> Any:
    net = model.build(config, seed=0)
    wanted = model.named(net)
    seen: dict[str, tuple[int, ...]] = {}
    with torch.no_grad():
        for name, array in weights:
            seen[name] = array.shape
            if name in wanted and tuple(wanted[name].shape) == array.shape:
                wanted[name].copy_(torch.from_numpy(array))
    check_shapes({n: tuple(p.shape) for n, p in wanted.items()}, seen, whose="the weights")
    return net
