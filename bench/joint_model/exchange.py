"""A round's exchange between sites that live in one process."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import torch

from ayni.lm.inner.train import Trainer
from ayni.lm.outer.codec import Codec, blob_size, decode, encode
from ayni.lm.outer.fragments import WHOLE
from ayni.lm.outer.merge import Step, merge
from ayni.lm.parameters import arrays, chunks, count


class Encoded:
    """As in a run: encoded, merged, encoded, decoded and applied by every site."""

    def __init__(self, sites: Sequence[Trainer], codec: Codec, fragment: str = WHOLE) -> None:
        self._sites, self._fragment = sites, fragment
        self._codec = codec
        tensors = sites[0].parameters
        self._shapes = {name: tuple(tensors[name].shape) for name in sites[0].fragments[fragment]}
        self._size = count(self._shapes)
        self._momentum: Any = None

    def __call__(self, parts: Sequence[float], step: Step, version: int) -> int:
        """Bytes, both directions, of a site."""
        update, sent = self.merged(parts, step)
        digests = {self.give(site, update, version + 1) for site in self._sites}
        assert len(digests) == 1, "sites hold different weights"
        return sent

    def merged(self, parts: Sequence[float], step: Step) -> tuple[bytes, int]:
        """The update from what the sites have trained, and a site's bytes, both directions."""
        blobs = [self._encode(chunks(s.pseudo_gradient(self._fragment))) for s in self._sites]
        stepped = list(merge([self._decode(b) for b in blobs], parts, step, self._momentum))
        self._momentum = [one.momentum for one in stepped] if step.momentum else None
        update = self._encode(one.update for one in stepped)
        return update, len(blobs[0]) + len(update)

    def give(self, site: Trainer, update: bytes, version: int, mix: float = 0.0) -> str:
        """A site takes the update; the digest of its weights then."""
        named = arrays(self._decode(update), self._shapes)
        return site.apply(named, version, self._fragment, mix=mix)

    def _encode(self, vector: Any) -> bytes:
        return b"".join(encode(vector, self._size, self._codec))

    def _decode(self, blob: bytes) -> Any:
        return decode(io.BytesIO(blob), self._size)


class InPlace:
    """The merge's arithmetic in float32 where the weights are: encoding would take longer than training."""

    def __init__(self, sites: Sequence[Trainer], codec: Codec) -> None:
        if codec is not Codec.FLOAT32:
            raise ValueError("what is not encoded is float32")
        self._sites = sites
        self._speed: dict[str, Any] = {}
        shapes = {name: tuple(p.shape) for name, p in sites[0].parameters.items()}
        self._sent = 2 * blob_size(count(shapes), codec)

    @torch.no_grad()
    def __call__(self, parts: Sequence[float], step: Step, version: int) -> int:
        """Bytes, both directions, of a site."""
        speeds: dict[str, Any] = {}
        for name, base in self._sites[0].base.items():
            mean = torch.zeros_like(base)
            for site, part in zip(self._sites, parts, strict=True):
                mean += part * (base - site.parameters[name])
            if step.momentum:
                before = self._speed.get(name)
                speed = mean if before is None else mean + step.momentum * before
                speeds[name] = speed
                mean = mean + step.momentum * speed
            base.sub_(step.lr * mean)
            for site in self._sites:
                site.base[name].copy_(base)
                site.parameters[name].copy_(base)
        self._speed = speeds
        for site in self._sites:
            site.progress.rebase(version + 1)
            site.progress.forget()
        return self._sent
