"""The loss behind the last layer, without all logits in memory.

Logits are made for some tokens at a time, and at once turned into losses and gradients: nothing of
them is kept or made again for the backward pass (so does Liger, arXiv 2410.10989). All logits of a
long row at once would be larger than the model.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ayni.lm.inner import packing

#: Logits in memory at once: 1 GiB in float32.
LOGITS = 1 << 28


def losses(hidden: Tensor, weight: Tensor, targets: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
    """The sum of the losses times `share`, which has a gradient, and each token's loss, which has none.

    Args:
        hidden: [tokens, width].
        weight: of the head, [vocabulary, width].
        targets: [tokens]; the loss is 0 where one is `packing.IGNORED`.
        share: no dimension, float32: one over the tokens of the step, say. Gradients are multiplied
            by it before they are rounded to the type of `hidden`.

    Returns:
        Nats, float32 or wider.
    """
    if torch.is_grad_enabled():
        found: tuple[Tensor, Tensor] = _Losses.apply(hidden, weight, targets, share)
        return found
    parts = [
        F.cross_entropy(
            _wide(part @ weight.T), goals, reduction="none", ignore_index=packing.IGNORED
        )
        for part, goals in _chunks(weight, hidden, targets)
    ]
    each = torch.cat(parts)
    return each.sum() * share, each


class _Losses(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, share: Tensor
    ) -> tuple[Tensor, Tensor]:
        turned = _compiled() if hidden.is_cuda else _losses_and_gradient
        each, to_hidden = [], []
        to_weight = torch.zeros_like(weight, dtype=_wide(weight[:0]).dtype)
        for part, goals in _chunks(weight, hidden, targets):
            found, gradient = turned(part @ weight.T, goals, share)
            each.append(found)
            to_hidden.append(gradient @ weight)
            to_weight += gradient.T @ part
        ctx.save_for_backward(torch.cat(to_hidden), to_weight.to(weight.dtype))
        whole = torch.cat(each)
        ctx.mark_non_differentiable(whole)
        return whole.sum() * share, whole

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor, Tensor, None, None]:
        to_hidden, to_weight = ctx.saved_tensors
        return to_hidden * grads[0], to_weight * grads[0], None, None


def _chunks(weight: Tensor, hidden: Tensor, targets: Tensor) -> Any:
    size = max(1, LOGITS // len(weight))
    return zip(hidden.split(size), targets.split(size), strict=True)


def _wide(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))


def _losses_and_gradient(logits: Tensor, targets: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
    """Each token's loss, and the gradient of their sum times `share` with respect to the logits."""
    wide = _wide(logits)
    counted = (targets != packing.IGNORED)[:, None]
    goal = torch.where(counted, targets[:, None], 0)
    norm = wide.logsumexp(1, keepdim=True)
    found = torch.where(counted, norm - wide.gather(1, goal), 0)
    chosen = torch.arange(logits.shape[1], device=logits.device) == goal
    gradient = torch.where(counted, ((wide - norm).exp() - chosen.to(wide.dtype)) * share, 0)
    return found.squeeze(1), gradient.to(logits.dtype)


@cache
def _compiled() -> Any:
    """One pass over the logits, nothing of their size in between."""
    return torch.compile(_losses_and_gradient)
