"""Figures out of times."""

from __future__ import annotations

import statistics
from typing import Any

import numpy as np
import torch

from bench.gpu.shapes import PEAK, Work


def of(work: Work, times: list[float]) -> dict[str, Any]:
    """Figures of steps that took so many seconds each; rates are by their mean."""
    mean = statistics.mean(times)
    pairs = _pairs(work)
    return {
        "steps": len(times),
        "tokens_per_step": work.tokens,
        "seconds_per_step": mean,
        "median_seconds_per_step": statistics.median(times),
        "tokens_per_second": work.tokens / mean,
        "tflops": work.flops() / mean / 1e12,
        "mfu": work.flops() / mean / PEAK,
        "mfu_masked": work.flops(pairs) / mean / PEAK,
        "keys_per_token": pairs,
    }


def _pairs(work: Work) -> float:
    """How many keys a token looks at, behind the documents' mask: the mean over some rows."""
    order = work.order()
    seen = []
    for index in range(64):
        segments = order.row(index).segments[:-1]
        _, sizes = np.unique(segments, return_counts=True)
        seen.append((sizes * (sizes + 1) / 2).sum() / len(segments))
    return float(np.mean(seen))


def memory(device: Any) -> float:
    """The most that was allocated, in bytes; 0 on a CPU."""
    return float(torch.cuda.max_memory_allocated(device)) if device.type == "cuda" else 0.0
