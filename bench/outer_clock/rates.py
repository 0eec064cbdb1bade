"""What an exchange takes here, for each value, on one core: seconds of the processor, not of the clock."""

from __future__ import annotations

import hashlib
import io
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ayni.lm.outer.blocks import CHUNK, Digest, chunks
from ayni.lm.outer.codec import Codec, decode, encode
from ayni.lm.outer.files import FolderStore
from ayni.lm.outer.messages import Input, Inspect, Inspected, Merge, Merged
from ayni.lm.outer.perform import perform, store_vector
from bench.outer import laplace
from bench.outer_clock.clock import Rates

_TRIES = 5
_VALUES = 1 << 25  # in the coordinator's part


def measured(codec: Codec, sites: int) -> Rates:
    """Seconds for a value, the best of a few tries: what runs beside this does not count."""
    values = (1e-3 * np.random.default_rng(0).laplace(size=CHUNK)).astype(np.float32)
    blob = b"".join(encode(chunks(values), CHUNK, codec))

    def coded() -> None:
        for _ in encode(chunks(values), CHUNK, codec):
            pass

    def decoded() -> None:
        for step in decode(io.BytesIO(blob), CHUNK):
            np.subtract(values, step)

    store = 2 * _seconds(lambda: hashlib.sha256(blob).digest())  # whole and by blocks
    address = _seconds(
        lambda: hashlib.sha256(blob).digest()
    )  # by the site; the others check it as it comes
    inspect, merge = _coordinator(codec, sites)
    return Rates(
        send=_seconds(coded) + address + store,
        apply=store + _seconds(decoded) + _seconds(lambda: Digest().add(values)),
        inspect=store + inspect,
        merge=merge + store,
    )


def _seconds(do: Callable[[], object]) -> float:
    best = float("inf")
    for _ in range(_TRIES):
        began = time.thread_time()
        do()
        best = min(best, time.thread_time() - began)
    return best / CHUNK


def _coordinator(codec: Codec, sites: int) -> tuple[float, float]:
    """Seconds for an inspection, and for a merge, its update made and applied; of all threads together."""
    with tempfile.TemporaryDirectory(dir=".") as folder:
        store = FolderStore(Path(folder))
        params, _ = store_vector(store, laplace(_VALUES, 999))
        inputs = tuple(_input(store, codec, site, sites) for site in range(sites))
        size = store.path(inputs[0].blob).stat().st_size
        began = time.process_time()
        found = perform(
            Inspect(
                fragment="all", base=0, site="s0", attempt=0, blob=inputs[0].blob, size=size,
                count=_VALUES,
            ),
            store,
        )  # fmt: skip
        inspected = time.process_time()
        assert isinstance(found, Inspected) and found.problem is None
        merged = perform(
            Merge(
                fragment="all", version=1, attempt=0, count=_VALUES, inputs=inputs, lr=1.0,
                momentum=0.0, speed=None, params=params, before=None, codec=codec,
            ),
            store,
        )  # fmt: skip
        assert isinstance(merged, Merged)
        return (inspected - began) / _VALUES, (time.process_time() - inspected) / _VALUES


def _input(store: FolderStore, codec: Codec, site: int, sites: int) -> Input:
    with store.create() as out:
        for piece in encode(laplace(_VALUES, site), _VALUES, codec):
            out.write(piece)
        return Input(key=f"0/s{site}/0", site=f"s{site}", blob=out.keep(), weight=1 / sites)
