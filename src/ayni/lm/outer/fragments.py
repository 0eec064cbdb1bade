"""A model in fragments that are exchanged in turn (Streaming DiLoCo, arXiv 2501.18512).

A fragment is every so-manieth layer, so that each holds shallow and deep ones; what belongs to no
layer (embeddings, the last norm, the head) goes where there is most room. Each fragment's tensors, in
the order of their names, are its flat vector.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks)\.(\d+)\.")
WHOLE = "all"


def split(sizes: Mapping[str, int], parts: int) -> dict[str, list[str]]:
    """The tensors of each fragment.

    Args:
        sizes: how many values each tensor has.
        parts: how many fragments are wanted; no more than there are layers are made.

    Raises:
        ValueError: there are no tensors, or no parts are wanted.
    """
    if parts < 1 or not sizes:
        raise ValueError("a model has tensors, and is split into one fragment at least")
    layers: dict[int, list[str]] = {}
    loose = []
    for name in sorted(sizes):
        found = _LAYER.search(name)
        if found:
            layers.setdefault(int(found.group(1)), []).append(name)
        else:
            loose.append(name)
    parts = min(parts, max(len(layers), 1))
    if parts == 1:
        return {WHOLE: sorted(sizes)}
    bins: list[list[str]] = [[] for _ in range(parts)]
    for place, layer in enumerate(sorted(layers)):
        bins[place % parts] += layers[layer]
    for name in sorted(loose, key=lambda n: (-sizes[n], n)):
        room = [(_size(part, sizes), place) for place, part in enumerate(bins)]
        bins[min(room)[1]].append(name)
    width = len(str(parts - 1))
    return {f"part-{place:0{width}}": sorted(part) for place, part in enumerate(bins)}


def _size(names: list[str], sizes: Mapping[str, int]) -> int:
    total = 0
    for name in names:
        total += sizes[name]
    return total
