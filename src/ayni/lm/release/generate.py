"""Text from an exported model."""

from __future__ import annotations

from pathlib import Path

import torch

from ayni.errors import UserError
from ayni.lm.release.opened import opened


def generate(
    folder: Path, prompt: str, *, tokens: int = 64, temperature: float = 0.0, seed: int = 0
) -> str:
    """How a model goes on with a text: the prompt and up to so many tokens more.

    Args:
        folder: in the Hugging Face layout, of a family that is trained here.
        prompt: an empty one begins a document.
        temperature: 0 takes the likeliest token each time; else they are drawn, by `seed`.

    Raises:
        UserError: no such model, or a prompt that is longer than the model reads.
    """
    net, words = opened(folder)
    ids = words.tokenizer.encode(prompt, add_special_tokens=False).ids or [words.end]
    room = net.config.max_position_embeddings - len(ids)
    if room < 1:
        raise UserError(
            f"the prompt has {len(ids)} tokens, the model reads {net.config.max_position_embeddings}: "
            "shorten it"
        )
    given = torch.tensor([ids])
    drawn = {"do_sample": True, "temperature": temperature, "top_k": 0} if temperature > 0 else {}
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        found = net.generate(
            given,
            attention_mask=torch.ones_like(given),
            max_new_tokens=min(tokens, room),
            pad_token_id=words.end,
            eos_token_id=words.end,
            use_cache=True,
            **({"do_sample": False} | drawn),
        )
    text: str = words.tokenizer.decode(found[0].tolist())
    return text
