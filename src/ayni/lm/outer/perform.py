"""Doing what the machine wants: blobs are read, merged and written through a store, chunk by chunk.

Each function answers with the event that the machine waits for. Done twice, it gives the same blobs
again: nothing depends on what was there before. A full disk is the caller's to report (`OSError`
passes through); the action is still outstanding then, and nothing is lost.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing
from typing import Protocol

import numpy as np

from ayni.lm.outer.blocks import TILE, Chunks, Digest, Floats, abreast, ahead, dot, sizes
from ayni.lm.outer.blocks import digest as digest_of
from ayni.lm.outer.codec import CodecError, Reader, decode, encode
from ayni.lm.outer.merge import Cosines, Step, apply, merge, norm
from ayni.lm.outer.messages import (
    Action,
    Answer,
    Head,
    Input,
    Inspect,
    Inspected,
    LeaveOut,
    Merge,
    Merged,
    MergeFailed,
    Rebuild,
    Rebuilt,
    Variant,
)


class BlobError(Exception):
    """A blob is not there, or is not what its address says; the message says which."""


class Writer(Protocol):
    """A blob that is being written. It is there when `keep` returned, whole, or not at all."""

    def write(self, data: bytes | memoryview, /) -> object:
        """`data` may still be read after this returns, until `keep` does."""

    def keep(self) -> str:
        """The address of what was written."""


class Store(Protocol):
    """Blobs by address."""

    def open(self, ref: str) -> AbstractContextManager[Reader]:
        """Raises BlobError: there is no such blob."""

    def create(self) -> AbstractContextManager[Writer]: ...

    def drop(self, refs: Iterable[str], /) -> None:
        """Forget blobs; those that are not there are passed over."""


class _InputError(Exception):
    def __init__(self, key: str, problem: str) -> None:
        super().__init__(problem)
        self.key = key


def perform(
    action: Action, store: Store, made: Callable[[str], object] = lambda ref: None
) -> Answer | None:
    """Do an action; None for what only a transport can do.

    Args:
        made: told of an update as soon as it is there: it may travel while the weights are made.

    Raises:
        BlobError: a blob of the coordinator's own is gone.
        OSError: the store cannot be written or read.
    """
    match action:
        case Inspect():
            return inspect(action, store)
        case Merge():
            return merge_inputs(action, store, made)
        case Rebuild():
            return rebuild(action, store)
        case Head():
            return None


def inspect(action: Inspect, store: Store) -> Inspected:
    """Read a contribution through."""
    found: float | None = None
    problem: str | None = None
    try:
        with store.open(action.blob) as blob:
            counted = _Counted(blob)
            with closing(ahead(decode(counted, action.count, strict=True))) as chunks:
                found = norm(chunks)
        if counted.size != action.size:
            problem = f"the blob has {counted.size} bytes, and {action.size} were announced"
    except (CodecError, BlobError) as error:
        problem = str(error)[:500]
    return Inspected(
        fragment=action.fragment,
        base=action.base,
        site=action.site,
        attempt=action.attempt,
        blob=action.blob,
        norm=found,
        problem=problem,
    )


class _Counted:
    """A reader that counts: the books hold bytes that were there, not bytes that were claimed."""

    def __init__(self, blob: Reader) -> None:
        self._blob, self.size = blob, 0

    def read(self, size: int, /) -> bytes:
        data = self._blob.read(size)
        self.size += len(data)
        return data


def merge_inputs(
    action: Merge, store: Store, made: Callable[[str], object] = lambda ref: None
) -> Merged | MergeFailed:
    """Merge, step and encode; then apply what was encoded, decoded again, as every site will."""
    try:
        update, momentum, cosines = _update(action, store)
        made(update)
        variants = tuple(_variant(action, out, update, store) for out in action.leave_out)
    except (_InputError, CodecError) as error:
        return MergeFailed(
            fragment=action.fragment,
            version=action.version,
            attempt=action.attempt,
            input=error.key if isinstance(error, _InputError) else None,
            problem=str(error)[:500],
        )
    params, digest, length = apply_update(store, action.params, update, action.count)
    return Merged(
        fragment=action.fragment,
        version=action.version,
        attempt=action.attempt,
        update=update,
        params=params,
        digest=digest,
        norm=length,
        momentum=momentum,
        variants=variants,
        cosines=cosines,
    )


def _update(action: Merge, store: Store) -> tuple[str, str | None, dict[str, float]]:
    """The addresses of the encoded update and of the momentum after it, and the inputs' cosines.

    The inputs are decoded by one thread, and the update encoded by another.
    """
    step = Step(action.lr, action.momentum)
    with ExitStack() as stack:
        out = stack.enter_context(store.create())
        speed = stack.enter_context(store.create()) if step.momentum else None

        deltas = _inputs(action.inputs, action.count, store, stack)
        past = _past(action, store, stack)
        before: Iterator[Floats] | None = None
        if action.before is not None:
            before = _ahead(_own(action.before, action.count, store), stack)
        names = [one.key for one in action.inputs]
        cosines = Cosines([*names, "before"] if before else names)
        merged = merge(deltas, [one.weight for one in action.inputs], step, past)
        stack.enter_context(closing(merged))

        def updates() -> Iterator[Floats]:
            for stepped in merged:
                if speed is not None and stepped.momentum is not None:
                    speed.write(raw_bytes(stepped.momentum))
                cosines.add([*stepped.row, next(before)] if before else stepped.row)
                yield stepped.update

        pieces = ahead(encode(updates(), action.count, action.codec))
        for piece in stack.enter_context(closing(pieces)):
            out.write(piece)
        return out.keep(), None if speed is None else speed.keep(), cosines.found()


def _variant(action: Merge, out: LeaveOut, update: str, store: Store) -> Variant:
    """How the update would differ without one site: a vector to be taken from the weights after it."""
    rest = [one for one in action.inputs if one.site != out.site]
    with ExitStack() as stack:
        deltas = _inputs(rest, action.count, store, stack)
        whole = _ahead(_own(update, action.count, store), stack)
        past = _past(action, store, stack)
        merged = merge(deltas, out.weights, Step(action.lr, action.momentum), past)
        stack.enter_context(closing(merged))
        changes = (other.update - one for other, one in zip(merged, whole, strict=True))
        blob = stack.enter_context(store.create())
        for piece in encode(changes, action.count, action.codec):
            blob.write(piece)
        return Variant(site=out.site, change=blob.keep())


def _ahead(chunks: Generator[Floats], stack: ExitStack) -> Generator[Floats]:
    """The chunks, made by a thread that ends with the stack."""
    return stack.enter_context(closing(ahead(chunks)))


def _past(action: Merge, store: Store, stack: ExitStack) -> Chunks | None:
    """The momentum that is stepped with, if any."""
    if not action.momentum or action.speed is None:
        return None
    return stack.enter_context(closing(_raw(action.speed, action.count, store)))


def _inputs(
    inputs: Iterable[Input], count: int, store: Store, stack: ExitStack
) -> list[Generator[Floats]]:
    return [stack.enter_context(closing(_input(one, count, store))) for one in inputs]


def _input(one: Input, count: int, store: Store) -> Generator[Floats]:
    try:
        with store.open(one.blob) as blob:
            yield from decode(blob, count)
    except (CodecError, BlobError) as error:
        raise _InputError(one.key, str(error)) from error


def apply_update(store: Store, params: str, update: str, count: int) -> tuple[str, str, float]:
    """Weights after an update: their address, their digest, and the update's norm.

    Raises:
        BlobError: one of them is gone or damaged.
    """
    digest, scratch, squares = Digest(), np.empty(TILE), 0.0
    with (
        store.create() as out,
        closing(ahead(_raw(params, count, store))) as before,
        closing(ahead(_own(update, count, store))) as steps,
    ):

        def weights() -> Generator[Floats]:
            nonlocal squares
            for old, step in abreast([before, steps]):
                (new,) = apply([old], [step])
                digest.add(new)
                squares += dot(step, step, scratch)
                yield new

        with closing(ahead(weights())) as after:
            for new in after:
                out.write(raw_bytes(new))
        return out.keep(), digest.hex(), math.sqrt(squares)


def _raw(ref: str, count: int, store: Store) -> Generator[Floats]:
    with store.open(ref) as blob:
        yield from raw_chunks(blob, count)


def _own(ref: str, count: int, store: Store) -> Generator[Floats]:
    """The vector in a blob of the coordinator's own."""
    try:
        with store.open(ref) as blob:
            yield from decode(blob, count)
    except CodecError as error:
        raise BlobError(f"the update {ref} is damaged: {error}") from error


def rebuild(action: Rebuild, store: Store) -> Rebuilt:
    """An older version's weights: a snapshot, and one update after the other."""
    params = action.params
    for update in action.updates:
        params, digest, _ = apply_update(store, params, update, action.count)
    if not action.updates:
        with store.open(params) as blob:
            digest = digest_of(raw_chunks(blob, action.count))
    return Rebuilt(fragment=action.fragment, version=action.version, params=params, digest=digest)


# --- weights and momentum as bytes ------------------------------------------------------------


def raw_bytes(chunk: Floats) -> memoryview:
    """A chunk as little-endian float32: where that is what it is, its own memory."""
    return np.ascontiguousarray(chunk, dtype="<f4").view(np.uint8).data


def raw_chunks(blob: Reader, count: int) -> Iterator[Floats]:
    """The chunks of a vector that lies there as it is.

    Raises:
        BlobError: it is shorter or longer.
    """
    for size in sizes(count):
        yield np.frombuffer(read_exactly(blob, 4 * size), "<f4").astype(np.float32, copy=False)
    if blob.read(1):
        raise BlobError(f"there are more than {count} values")


def read_exactly(blob: Reader, size: int) -> bytes:
    """Raises BlobError: the blob ends before."""
    parts = []
    while size:
        part = blob.read(size)
        if not part:
            raise BlobError(f"the blob ends {size} bytes too early")
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def store_vector(store: Store, vector: Chunks) -> tuple[str, str]:
    """Write weights as they are: their address and their digest."""
    digest = Digest()
    with store.create() as out:
        for chunk in vector:
            digest.add(chunk)
            out.write(raw_bytes(chunk))
        return out.keep(), digest.hex()
