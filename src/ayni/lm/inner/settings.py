"""What inner training is told: sections of a run's configuration. No torch here, so that plans are cheap."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ayni.lm.outer.schedule import MOST_STEPS

# Upper bounds lie far above what any run has had: what is beyond is a slip of the pen.
Count = Annotated[int, Field(ge=1, le=1 << 24)]
Steps = Annotated[int, Field(ge=0, le=MOST_STEPS)]
Positive = Annotated[float, Field(gt=0, le=1e12)]
Rate = Annotated[float, Field(gt=0, le=1000)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Family = Literal["llama", "mistral", "qwen2", "qwen3"]


class Section(BaseModel):
    """Unknown keys are refused: a misspelt setting must not be a default. Nothing is converted."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Shape(Section):
    """A model from scratch, in the terms of its family's configuration in transformers."""

    family: Family = "llama"
    vocab_size: Count
    hidden_size: Annotated[int, Field(ge=1, le=1 << 17)]
    intermediate_size: Annotated[int, Field(ge=1, le=1 << 20)]
    layers: Annotated[int, Field(ge=1, le=4096)]
    heads: Annotated[int, Field(ge=1, le=4096)]
    kv_heads: Count | None = None  # by default as many as `heads`
    context: Count = 2048  # the longest sequence, in tokens
    rope_theta: Positive = 10_000.0
    tie_embeddings: bool = True

    @model_validator(mode="after")
    def _divides(self) -> Self:
        if self.hidden_size % (2 * self.heads):
            raise ValueError("hidden_size must be an even multiple of heads: RoPE turns pairs")
        if self.heads % self.key_value_heads:
            raise ValueError("heads must be a multiple of kv_heads")
        return self

    @property
    def key_value_heads(self) -> int:
        return self.kv_heads or self.heads

    @property
    def head_size(self) -> int:
        return self.hidden_size // self.heads


class Schedule(Section):
    """Warm-up, stable, decay, in inner steps of the whole run.

    Without `decay_from` there is no end yet; what a run's configuration leaves open is filled in when
    its length is known (`schedule.resolved`).
    """

    warmup: Steps = 100
    decay_from: Steps | None = None
    decay_steps: Steps | None = None  # 0: no decay
    floor: Fraction = 0.0  # of the peak, at the end of the decay

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.decay_from is not None and self.decay_from < self.warmup:
            raise ValueError("decay_from must not lie before the end of the warm-up")
        if self.decay_from is not None and self.decay_steps == 0:
            raise ValueError("decay_steps: 0 is no decay; write more, or leave decay_from out")
        return self


class Optimiser(Section):
    """AdamW for everything, or Muon for the hidden matrices and AdamW for the rest."""

    name: Literal["adamw", "muon"] = "muon"
    lr: Rate = 1e-3
    beta1: Fraction = 0.9
    beta2: Fraction = 0.95
    eps: Positive = 1e-8
    momentum: Fraction = 0.95  # Muon's
    weight_decay: Annotated[float, Field(ge=0, le=100)] = 0.1
    clip: Positive = 1.0  # of the gradient's norm over all parameters


class Data(Section):
    """How documents become batches."""

    length: Count = 2048  # tokens in a row
    batch: Count = 8  # rows in a step, over all ranks of the site
    micro_batch: Count | None = None  # rows at once on a rank; by default all of its rows
    temperature: Annotated[float, Field(ge=1, le=1000)] = (
        1.0  # 1: languages by their size; more: evener
    )
    max_repeats: Annotated[float, Field(ge=1, le=1e6)] = 4.0


class Training(Section):
    """Everything that inner training is told, but for the model and the data's place."""

    schedule: Schedule = Schedule()
    optimiser: Optimiser = Optimiser()
    data: Data = Data()
    seed: Annotated[int, Field(ge=0, lt=1 << 63)] = 0
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    compile: bool | None = None  # by default on GPUs
    recompute: bool = False  # activations in the backward pass: less memory, a third more compute
    checkpoint_every: Count = 200  # steps
    keep: Count = 2  # checkpoints


class Start(Section):
    """Where the first global weights come from: a shape to begin at random, or a local checkpoint."""

    shape: Shape | None = None
    checkpoint: Annotated[Path, Field(strict=False)] | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.shape is None) == (self.checkpoint is None):
            raise ValueError("give either shape (from scratch) or checkpoint (a local folder)")
        return self
