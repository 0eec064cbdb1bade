"""Models of the Llama, Mistral and Qwen families, as transformers builds them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from ayni.errors import UserError
from ayni.lm.inner import head
from ayni.lm.inner.settings import Shape, Start
from ayni.lm.parameters import check_shapes, flat_order

#: What the rest of `inner` knows how to mask, shard and export.
FAMILIES: dict[str, tuple[type[Any], type[Any]]] = {
    "llama": (transformers.LlamaConfig, transformers.LlamaForCausalLM),
    "mistral": (transformers.MistralConfig, transformers.MistralForCausalLM),
    "qwen2": (transformers.Qwen2Config, transformers.Qwen2ForCausalLM),
    "qwen3": (transformers.Qwen3Config, transformers.Qwen3ForCausalLM),
}


def config_of(shape: Shape) -> Any:
    """The transformers configuration of a shape."""
    kind, _ = FAMILIES[shape.family]
    window = {} if shape.family == "llama" else {"sliding_window": None}
    return kind(
        vocab_size=shape.vocab_size,
        hidden_size=shape.hidden_size,
        intermediate_size=shape.intermediate_size,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.key_value_heads,
        head_dim=shape.head_size,
        max_position_embeddings=shape.context,
        rope_parameters={"rope_type": "default", "rope_theta": shape.rope_theta},
        tie_word_embeddings=shape.tie_embeddings,
        bos_token_id=None,
        eos_token_id=None,
        **window,
    )


def read_config(folder: Path) -> Any:
    """The configuration of a local checkpoint.

    Raises:
        UserError: no or another model; code that comes with a checkpoint is never run.
    """
    try:
        found = json.loads((folder / "config.json").read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"checkpoint {folder}: config.json cannot be read: {error}") from error
    family = found.get("model_type") if isinstance(found, dict) else None
    if not isinstance(family, str) or family not in FAMILIES:
        raise UserError(
            f"checkpoint {folder}: model_type is {family!r}; there are {', '.join(FAMILIES)}: "
            "continue from a checkpoint of one of these families"
        )
    if found.get("quantization_config"):
        raise UserError(f"checkpoint {folder} is quantised: continue from its full weights")
    try:
        return FAMILIES[family][0].from_dict(found)
    except Exception as error:  # of several libraries, whatever the values bring about
        told = str(error).splitlines()[-1].strip()
        raise UserError(f"checkpoint {folder}: config.json is not {family}'s: {told}") from error


def build(config: Any, *, seed: int, attention: str = "sdpa") -> Any:
    """A model with random weights: the same for the same seed on every machine's CPU. float32."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = FAMILIES[config.model_type][1]._from_config(
            config, attn_implementation=attention, dtype=torch.float32
        )
    model.config.use_cache = False
    return model


def start(settings: Start, *, seed: int, attention: str = "sdpa") -> Any:
    """The model that a run begins with: from scratch, or continued from a checkpoint."""
    if settings.shape is not None:
        return build(config_of(settings.shape), seed=seed, attention=attention)
    assert settings.checkpoint is not None
    model = build(read_config(settings.checkpoint), seed=seed, attention=attention)
    load(model, settings.checkpoint)
    return model


def load(model: Any, folder: Path) -> None:
    """Put a checkpoint's safetensors into the model.

    Raises:
        UserError: no safetensors, a torn file, or a parameter missing, unknown or of another shape.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise UserError(
            f"checkpoint {folder} has no *.safetensors: convert it (files that run code are not read)"
        )
    places: dict[str, Path] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    try:
        for file in files:
            with safe_open(file, framework="pt") as tensors:
                for name in tensors.offset_keys():
                    places[name] = file
                    shapes[name] = tuple(tensors.get_slice(name).get_shape())
    except SafetensorError as error:
        raise UserError(
            f"checkpoint {folder}: {file.name} is torn: fetch it again ({error})"
        ) from error
    wanted = named(model)
    if model.config.tie_word_embeddings:
        shapes.pop("lm_head.weight", None)
    shapes = {name: shape for name, shape in shapes.items() if "rotary_emb" not in name}
    check_shapes(
        {name: tuple(tensor.shape) for name, tensor in wanted.items()},
        shapes,
        whose=f"checkpoint {folder}",
    )
    with torch.no_grad():
        for name, tensor in wanted.items():
            with safe_open(places[name], framework="pt") as tensors:
                tensor.copy_(tensors.get_tensor(name))


def named(model: Any) -> dict[str, Tensor]:
    """The parameters by name, in the flat order; tied ones once."""
    found = dict(model.named_parameters())
    return {name: found[name] for name in flat_order(found)}


def check_length(config: Any, length: int) -> None:
    """Refuse rows that the model cannot read whole.

    Raises:
        UserError: rows longer than the context, or than a sliding window (a document mask replaces it).
    """
    if length > config.max_position_embeddings:
        raise UserError(
            f"data.length = {length} is more than the model's context of "
            f"{config.max_position_embeddings} tokens: shorten it"
        )
    window = getattr(config, "sliding_window", None)
    if window is not None and length > window:
        raise UserError(
            f"data.length = {length} is more than the model's sliding window of {window} tokens: "
            "shorten it"
        )


class Trainee(nn.Module):
    """A model and its loss as one module, so that sharding and compiling see both."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.attention: str = model.config._attn_implementation

    def forward(
        self,
        tokens: Tensor,
        positions: Tensor,
        targets: Tensor,
        mask: Any,
        share: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The sum of the losses in nats, and the loss of every token, [rows * length].

        A loss is 0 where the target is `packing.IGNORED`. Only the sum has a gradient; it is
        multiplied by `share` (no dimension, float32), where one is given.
        """
        hidden = self.model.model(
            input_ids=tokens, position_ids=positions, attention_mask=mask, use_cache=False
        ).last_hidden_state.flatten(0, 1)
        if share is None:
            share = torch.ones((), device=hidden.device)
        return head.losses(hidden, self.model.lm_head.weight, targets.flatten(), share)
