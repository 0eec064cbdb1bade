"""The inner optimiser. Its moments belong to the site: they are never averaged, sent or reset."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from ayni.lm.inner.settings import Optimiser

#: Matrices that are no hidden layers' own; Muon's authors leave them to AdamW.
_OUTER_MATRICES = ("embed_tokens", "lm_head")


class Optimisers:
    """AdamW, or Muon with AdamW beside it, behind one learning rate and one clipping."""

    def __init__(self, settings: Optimiser, parameters: dict[str, Tensor]) -> None:
        self.settings = settings
        self.parameters = parameters
        hidden = {n: p for n, p in parameters.items() if settings.name == "muon" and _hidden(n, p)}
        rest = {n: p for n, p in parameters.items() if n not in hidden}
        self._all: list[Any] = [_adamw(settings, rest)]
        if hidden:
            self._all.append(_muon(settings, hidden))

    def clip(self) -> Tensor:
        """Clip the gradients; the norm before, on their device: nobody has waited for it yet."""
        norm: Any = torch.nn.utils.clip_grad_norm_(
            list(self.parameters.values()), self.settings.clip, foreach=True
        )
        whole: Tensor = norm.full_tensor() if hasattr(norm, "full_tensor") else norm
        return whole

    def step(self, factor: float) -> None:
        """Step at `factor` of the peak rate, and forget the gradients."""
        for one in self._all:
            for group in one.param_groups:
                group["lr"] = self.settings.lr * factor
            one.step()
        self.zero_grad()

    def zero_grad(self) -> None:
        for one in self._all:
            one.zero_grad(set_to_none=True)

    def state(self) -> dict[str, Tensor]:
        """The moments by `parameter/moment`, made where no step was made yet. The tensors themselves."""
        return {f"{name}/{moment}": t for name, moment, t in self._moments()}

    def _moments(self) -> Iterator[tuple[str, str, Tensor]]:
        names = {id(p): name for name, p in self.parameters.items()}
        for one in self._all:
            for group in one.param_groups:
                for p in group["params"]:
                    state = one.state[p]
                    if not state:
                        state.update(_first_moments(one, p))
                    yield from ((names[id(p)], moment, state[moment]) for moment in sorted(state))


def _hidden(name: str, parameter: Tensor) -> bool:
    return parameter.ndim == 2 and not any(part in name for part in _OUTER_MATRICES)


def _adamw(settings: Optimiser, parameters: dict[str, Tensor]) -> Any:
    matrices = [p for p in parameters.values() if p.ndim >= 2]
    vectors = [p for p in parameters.values() if p.ndim < 2]  # norms and biases do not decay
    groups = [
        {"params": matrices, "weight_decay": settings.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=settings.lr,
        betas=(settings.beta1, settings.beta2),
        eps=settings.eps,
        fused=True,
    )


def _muon(settings: Optimiser, parameters: dict[str, Tensor]) -> Any:
    return torch.optim.Muon(
        list(parameters.values()),
        lr=settings.lr,
        weight_decay=settings.weight_decay,
        momentum=settings.momentum,
        adjust_lr_fn="match_rms_adamw",  # so that AdamW's rate fits (arXiv 2502.16982)
    )


def _first_moments(optimiser: Any, parameter: Tensor) -> dict[str, Tensor]:
    if isinstance(optimiser, torch.optim.Muon):
        return {"momentum_buffer": torch.zeros_like(parameter)}
    return {
        "step": torch.zeros((), dtype=torch.float32, device=parameter.device),
        "exp_avg": torch.zeros_like(parameter),
        "exp_avg_sq": torch.zeros_like(parameter),
    }
