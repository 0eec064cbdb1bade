"""Sites for the tests: each pulls the weights towards a point of its own, with some noise."""

from __future__ import annotations

import io
from dataclasses import dataclass, field

import numpy as np

from ayni.lm.outer.blocks import chunks, digest
from ayni.lm.outer.catchup import catch_up
from ayni.lm.outer.codec import Codec, decode, encode
from ayni.lm.outer.messages import Contributed, Head, Held, nonce_of
from tests.lm.outer.coordinator import MemoryStore

TOKENS = 100  # a step


def blob_of(vector: np.ndarray, codec: int = Codec.INT8) -> bytes:
    return b"".join(encode(chunks(vector), vector.size, Codec(codec)))


@dataclass
class Site:
    """`global_`: its copy of the global weights, a fragment each."""

    name: str
    seed: int
    global_: dict[str, np.ndarray] = field(default_factory=dict)
    held: dict[str, int] = field(default_factory=dict)
    discarded: int = 0

    def take(self, head: Head, store: MemoryStore) -> Held:
        """Catch up with a head, as a trainer would, and say so."""
        name = head.fragment
        own = self.global_.get(name)
        known = None if own is None else digest(chunks(own))
        way = catch_up(head, self.held.get(name), known)
        self.discarded += way.discard
        if way.snapshot is not None:
            own = np.frombuffer(store.blobs[way.snapshot], "<f4")
            assert digest(chunks(own)) == head.snapshot_digest
        for link in way.links:
            assert own is not None
            if link.update is not None:
                with store.open(link.update) as blob:
                    own = own - np.concatenate(list(decode(blob, head.count)))
            assert digest(chunks(own)) == link.digest
        assert own is not None
        self.global_[name], self.held[name] = own, head.version
        return Held(site=self.name, fragment=name, version=head.version, digest=digest(chunks(own)))

    def delta(self, head: Head) -> np.ndarray:
        """Old global − new local after the round's inner steps."""
        aim = np.random.default_rng(self.seed).standard_normal(head.count, dtype=np.float32)
        noise = np.random.default_rng([self.seed, head.version]).standard_normal(head.count)
        pull = 1 - 0.98**head.inner_steps
        moved = pull * (self.global_[head.fragment] - aim) + 0.01 * noise
        return moved.astype(np.float32)

    def bring(
        self,
        head: Head,
        store: MemoryStore,
        delta: np.ndarray | None = None,
        attempt: int = 0,
        **changes: object,
    ) -> Contributed:
        """Train for a round from the head it holds, store the payload, and say so."""
        data = blob_of(self.delta(head) if delta is None else delta)
        return self.say(head, store.put(data), len(data), attempt, **changes)

    def say(
        self, head: Head, ref: str, size: int, attempt: int = 0, **changes: object
    ) -> Contributed:
        plain = {
            "run": head.run,
            "fragment": head.fragment,
            "base": head.version,
            "site": self.name,
            "attempt": attempt,
            "digest": head.digest,
            "nonce": nonce_of(head.run, head.fragment, head.version, head.digest, self.name),
            "blob": ref,
            "size": size,
            "tokens": TOKENS * head.inner_steps,
            "steps": head.inner_steps,
        }
        return Contributed.model_validate({**plain, **changes})


def decoded(data: bytes, count: int) -> np.ndarray:
    return np.concatenate(list(decode(io.BytesIO(data), count)))
