"""An exported model, opened to be used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ayni.errors import UserError
from ayni.lm.inner import model
from ayni.lm.inner.settings import Start
from ayni.lm.tokenizer import model as tokenizers
from ayni.lm.tokenizer.model import Loaded


def opened(folder: Path, *, attention: str = "sdpa") -> tuple[Any, Loaded]:
    """The model, for reading only, and its tokenizer.

    Raises:
        UserError: one of them is missing, torn or of a family that is not known, or they do not fit.
    """
    words = tokenizers.load(folder)
    net = model.start(Start(checkpoint=folder), seed=0, attention=attention).eval()
    if words.size > net.config.vocab_size:
        raise UserError(
            f"{folder}: the tokenizer has {words.size} words, the model {net.config.vocab_size}: it "
            "is another's"
        )
    return net.requires_grad_(False), words
