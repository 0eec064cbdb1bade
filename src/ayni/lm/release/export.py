"""Weights in the Hugging Face layout: config.json, model.safetensors, tokenizer.json."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import torch

from ayni.errors import UserError
from ayni.lm.files import written
from ayni.lm.inner import model
from ayni.lm.outer.blocks import Floats
from ayni.lm.parameters import check_shapes
from ayni.lm.release import card, sums
from ayni.lm.release.facts import Facts, Given, complete, save
from ayni.lm.tokenizer import model as tokenizers

Precision = Literal["float32", "bfloat16"]


def export(
    folder: Path,
    config: Any,
    weights: Iterable[tuple[str, Floats]],
    tokenizer: Path,
    *,
    precision: Precision = "float32",
    facts: Facts | None = None,
    given: Given | None = None,
) -> None:
    """Write a folder that plain transformers loads; it appears whole or not at all.

    With it come a model card, where there are facts, and `SHA256SUMS` of all files.

    Args:
        folder: must not be there yet, or be empty.
        config: of the run's model (`inner.model`).
        weights: all of them, in any order.
        tokenizer: the run's folder with `tokenizer.json`.

    Raises:
        UserError: the folder is not empty, the weights are another model's, the tokenizer has more
            words than the model or cannot be read, or the disk is full.
    """
    check_empty(folder)
    words = tokenizers.load(tokenizer)
    if words.size > config.vocab_size:
        raise UserError(
            f"{tokenizer} has {words.size} words, the model {config.vocab_size}: it is another's"
        )
    net = _filled(config, weights).to(getattr(torch, precision))
    net.config.use_cache = True
    net.config.eos_token_id = net.generation_config.eos_token_id = words.end
    net.generation_config.pad_token_id = words.end
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as place:
            part = Path(place) / folder.name
            net.save_pretrained(part)
            tokenizers.keep(tokenizer, part)
            if facts is not None:
                write_card(part, facts, given or Given())
            sums.write(part)
            for path in part.iterdir():
                path.chmod(0o644)  # safetensors are written for their owner alone
            part.rename(folder)
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error.strerror or error}") from error


def check_empty(folder: Path) -> None:
    """Raises UserError: there is something in the folder, or it is none."""
    try:
        if folder.exists() and any(folder.iterdir()):
            raise UserError(f"{folder} is not empty: name a new folder")
    except OSError as error:
        raise UserError(f"{folder}: {error.strerror}; name a new folder") from error


def write_card(folder: Path, facts: Facts, given: Given) -> Facts:
    """Put `facts.json` and the card beside the weights; those of before are replaced.

    Raises:
        UserError: what is given was measured on other weights, or it cannot be written.
    """
    whole = complete(facts, given, sums.weights_of(folder))
    save(whole, folder)
    with written(folder / card.FILE) as file:
        file.write(card.card(whole).encode())
    return whole


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
