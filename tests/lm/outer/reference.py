"""DiLoCo as its paper's algorithm reads (arXiv 2311.08105, algorithm 1), written apart from what it checks.

One vector, float64, no codec, no chunks; Nesterov momentum as `torch.optim.SGD(nesterov=True)` has it.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np


class Reference:
    def __init__(self, weights: np.ndarray) -> None:
        self.weights = weights.astype(np.float64)
        self.buffer: np.ndarray | None = None

    def round(
        self,
        deltas: Mapping[str, np.ndarray],
        weight: Mapping[str, float],
        lr: float = 1.0,
        momentum: float = 0.0,
        limit: Mapping[str, float] | None = None,
    ) -> np.ndarray:
        """Take one outer step; the update that was subtracted."""
        total = sum(weight.values())
        gradient = np.zeros_like(self.weights)
        for site, delta in deltas.items():
            wide = delta.astype(np.float64)
            length = np.sqrt((wide**2).sum())
            most = (limit or {}).get(site, np.inf)
            gradient += weight[site] / total * min(1.0, most / max(length, 1e-300)) * wide
        update = gradient
        if momentum:
            self.buffer = gradient if self.buffer is None else momentum * self.buffer + gradient
            update = gradient + momentum * self.buffer
        self.weights = self.weights - lr * update
        return lr * update
