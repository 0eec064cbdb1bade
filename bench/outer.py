"""The outer loop on one machine: bytes and rates of the codecs, a merge in its memory, and the defence.

    python -m bench.outer [--values N] [--runs N]

Codecs: Laplace-distributed values, one thread. Merge: three sites' payloads in 4 bits from a folder,
through inspection, merge, encoding and applying. Defence: a tiny bigram model that three sites train on
languages of their own through the real machine; one of them turns bad. How soon it is suspended, and
how often an honest site is.
"""

from __future__ import annotations

import argparse
import io
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ayni.lm.outer.blocks import CHUNK, chunks, digest, sizes
from ayni.lm.outer.codec import Codec, blob_size, decode, encode
from ayni.lm.outer.coordinator import Coordinator
from ayni.lm.outer.files import FolderStore
from ayni.lm.outer.journal import Journal
from ayni.lm.outer.machine import Origin, begin
from ayni.lm.outer.messages import Contributed, Evaluated, Head, Joined, nonce_of
from ayni.lm.outer.perform import store_vector
from ayni.lm.outer.schedule import Phase, Schedule
from ayni.lm.outer.state import Rules

Vector = np.ndarray


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--values", type=int, default=1 << 26, help="in the merge")
    parser.add_argument("--runs", type=int, default=10, help="of the defence, each")
    given = parser.parse_args()
    merge(given.values)  # first: its memory is measured
    codecs()
    defence(given.runs)


# --- codecs -----------------------------------------------------------------------------------


def codecs() -> None:
    values = (1e-3 * np.random.default_rng(0).laplace(size=4 * CHUNK)).astype(np.float32)
    for codec in Codec:
        began = time.perf_counter()
        blob = b"".join(encode(chunks(values), values.size, codec))
        encoded = time.perf_counter()
        back = list(decode(io.BytesIO(blob), values.size))
        ended = time.perf_counter()
        off = sum(float(np.square(b - v).sum()) for b, v in zip(back, chunks(values), strict=True))
        rate = values.nbytes / 1e6
        print(
            f"= {codec.name}: {8 * len(blob) / values.size:.2f} bits a value, squared error "
            f"{off / float(np.square(values).sum()):.1e}, encodes {rate / (encoded - began):.0f} MB/s, "
            f"decodes {rate / (ended - encoded):.0f} MB/s of float32, one thread"
        )


# --- a merge ----------------------------------------------------------------------------------


def laplace(count: int, seed: int) -> Iterator[Vector]:
    """A long vector, made as it is read."""
    one = (1e-3 * np.random.default_rng(seed).laplace(size=CHUNK)).astype(np.float32)
    for number, size in enumerate(sizes(count)):
        yield np.roll(one, number)[:size]


@dataclass(frozen=True)
class Merging:
    """Seconds of a merge, and the process's peak in MiB before and after."""

    seconds: float
    before: float
    after: float


def merge(count: int) -> None:
    """Three contributions become a version."""
    found = merging(count, "abc", Path())
    print(
        f"= merge of 3 sites, {count / 1e6:.0f}M values: {found.seconds:.1f} s "
        f"({3 * 4 * count / found.seconds / 1e6:.0f} MB/s of float32 taken in), "
        f"{found.seconds * 1e9 / count:.0f} s a billion; memory "
        f"+{found.after - found.before:.0f} MiB at its peak, {found.after:.0f} MiB in all"
    )


def merging(count: int, sites: str, place: Path) -> Merging:
    """The contributions of some sites, in 4 bits, are inspected and merged; blobs lie in a folder there."""
    with tempfile.TemporaryDirectory(dir=place) as folder:
        store = FolderStore(Path(folder) / "blobs")
        params, mark = store_vector(store, laplace(count, 999))
        rules = Rules(run="bench", schedule=one_length(100), codec=Codec.INT4, quorum=len(sites))
        origin = {"all": Origin(count, params, mark)}
        hub = Coordinator(Journal(Path(folder)), store, lambda: begin(rules, origin, 0.0))
        (head,) = hub.heads()
        for seed, name in enumerate(sites):
            with store.create() as out:
                for piece in encode(laplace(count, seed), count, Codec.INT4):
                    out.write(piece)
                ref = out.keep()
            hub.hear(0.0, [Joined(site=name, tokens_per_step=1)])
            hub.hear(0.0, [said(head, name, ref, blob_size(count, Codec.INT4))])
        before, began = peak(), time.perf_counter()
        hub.work()
        hub.hear(3600.0)  # the grace is over
        hub.work()
        took = time.perf_counter() - began
        assert hub.heads()[0].version == 1
    return Merging(took, before, peak())


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def one_length(steps: int, length: int = 5) -> Schedule:
    return Schedule(steps=steps, phases=(Phase(from_step=0, inner_steps=length),))


def said(head: Head, site: str, ref: str, size: int) -> Contributed:
    return Contributed(
        run=head.run,
        fragment=head.fragment,
        base=head.version,
        site=site,
        attempt=0,
        digest=head.digest,
        nonce=nonce_of(head.run, head.fragment, head.version, head.digest, site),
        blob=ref,
        size=size,
        tokens=head.inner_steps,
        steps=head.inner_steps,
    )


# --- the defence ------------------------------------------------------------------------------

WORDS = 32
ROUNDS, TURNS_BAD = 30, 10


@dataclass
class Speaker:
    """A site with a language of its own: the next word by the last, from a table."""

    name: str
    seed: int
    moments: tuple[Vector, Vector] = field(default_factory=lambda: (np.zeros(1), np.zeros(1)))
    steps: int = 0

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        shared = np.random.default_rng(1).dirichlet(np.full(WORDS, 0.3), WORDS)
        own = rng.dirichlet(np.full(WORDS, 0.1), WORDS)
        self.table = 0.4 * shared + 0.6 * own
        self.rng = rng
        self.held_out = self.text(4000)

    def text(self, count: int) -> tuple[Vector, Vector]:
        first = self.rng.integers(0, WORDS, count)
        roll = self.rng.random((count, 1))
        return first, (np.cumsum(self.table[first], axis=1) < roll).sum(axis=1).clip(max=WORDS - 1)

    def loss(self, weights: Vector) -> float:
        return cross_entropy(weights, *self.held_out)[0]

    def train(self, weights: Vector, steps: int, rate: float = 0.05) -> Vector:
        """Adam; the moments stay at the site."""
        own = weights.astype(np.float64)
        mean, square = (m if m.size == own.size else np.zeros(own.size) for m in self.moments)
        for _ in range(steps):
            slope = cross_entropy(own, *self.text(256))[1]
            self.steps += 1
            mean, square = 0.9 * mean + 0.1 * slope, 0.99 * square + 0.01 * slope**2
            fair = mean / (1 - 0.9**self.steps), square / (1 - 0.99**self.steps)
            own -= rate * fair[0] / (np.sqrt(fair[1]) + 1e-8)
        self.moments = mean, square
        return own.astype(np.float32)


def cross_entropy(weights: Vector, first: Vector, then: Vector) -> tuple[float, Vector]:
    logits = weights.reshape(WORDS, WORDS)[first].astype(np.float64)
    logits -= logits.max(axis=1, keepdims=True)
    chance = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    row = np.arange(first.size)
    slope = np.zeros((WORDS, WORDS))
    miss = chance.copy()
    miss[row, then] -= 1
    np.add.at(slope, first, miss / first.size)
    return float(-np.log(chance[row, then]).mean()), slope.ravel()


Attack = Callable[[Vector, np.random.Generator], Vector]
ATTACKS: dict[str, Attack | None] = {
    "nobody is bad": None,
    "sign turned": lambda delta, rng: -delta,
    "sign turned, 9 times as long": lambda delta, rng: -9 * delta,
    "noise, 9 times as long": lambda delta, rng: noise(delta, rng, 9),
    "noise as long as the honest": lambda delta, rng: noise(delta, rng, 1),
    "zeros": lambda delta, rng: 0 * delta,
    "1e20, from the first round": lambda delta, rng: noise(delta, rng, 1e20),
}


def noise(delta: Vector, rng: np.random.Generator, times: float) -> Vector:
    drawn = rng.standard_normal(delta.size)
    return times * drawn * np.linalg.norm(delta) / np.linalg.norm(drawn)


def defence(runs: int) -> None:
    for name, attack in ATTACKS.items():
        for guarded in (True, False):
            begins = 0 if "first" in name else TURNS_BAD
            found = [one_run(seed, attack, guarded, begins) for seed in range(runs)]
            loss = float(np.mean([f.loss for f in found]))
            caught = [f.caught for f in found if f.caught is not None]
            wrong = sum(f.wrong for f in found)
            text = f"loss {loss:.3f}"
            if guarded:
                when = f", after {np.mean(caught):.1f} rounds" if caught else ""
                text += f"; suspended in {len(caught)} of {runs} runs{when}; honest sites suspended: {wrong}"
                text += f"; rounds rolled back: {np.mean([f.back for f in found]):.1f}"
            text += f"; honest contributions refused {sum(f.refused for f in found)}, shortened "
            text += f"{sum(f.shortened for f in found)}, of {sum(f.brought for f in found)}"
            print(f"= defence {'on' if guarded else 'off'}, {name}: {text}", flush=True)


@dataclass
class Found:
    loss: float  # mean over the honest sites
    caught: int | None  # rounds from the first bad one to the suspension
    wrong: int
    back: int
    brought: int  # by honest sites; of that:
    refused: int
    shortened: int


def one_run(seed: int, attack: Attack | None, guarded: bool, begins: int = TURNS_BAD) -> Found:
    """Thirty rounds; from one of them on site c is bad, and calls harmful what is not and the reverse."""
    sites = [Speaker(name, 100 * seed + i) for i, name in enumerate("abc", 2)]
    rng = np.random.default_rng(seed)
    rules = Rules(run="bench", schedule=one_length(5 * 1000), evaluate=guarded, grace=0.0)
    caught: int | None = None
    with tempfile.TemporaryDirectory() as folder:
        store = FolderStore(Path(folder) / "blobs")
        start = np.zeros(WORDS * WORDS, np.float32)
        params, mark = store_vector(store, chunks(start))
        origin = {"all": Origin(start.size, params, mark)}
        journal = Journal(Path(folder))
        hub = Coordinator(journal, store, lambda: begin(rules, origin, 0.0))
        hub.hear(0.0, [Joined(site=s.name, tokens_per_step=1000) for s in sites])
        for turn in range(ROUNDS):
            bad = attack is not None and turn >= begins
            play(hub, store, sites, turn, attack if bad else None, rng)
            if caught is None and hub.state.sites["c"].suspended is not None and bad:
                caught = turn - begins + 1
        honest = sites[:2] if attack else sites
        wrong = sum(hub.state.sites[s.name].suspended is not None for s in honest)
        weights = weights_of(hub, store)
        back = sum(1 for _ in journal.books("rolled back"))
        names = {s.name for s in honest}
        merged = [r.data for _, r in journal.books("merged") if r.data["site"] in names]
        refused = sum(r.data["site"] in names for _, r in journal.books("refused"))
        shortened = sum(data["clipped"] != 1 for data in merged)
        journal.close()
    loss = float(np.mean([s.loss(weights) for s in sites[:2]]))
    brought = len(honest) * ROUNDS
    return Found(loss, caught, wrong, back, brought, refused, shortened)


def play(
    hub: Coordinator,
    store: FolderStore,
    sites: list[Speaker],
    turn: int,
    attack: Attack | None,
    rng: np.random.Generator,
) -> None:
    (head,) = hub.heads()
    before = weights_of(hub, store)
    assert digest(chunks(before)) == head.digest
    for site in sites:
        delta = (before - site.train(before, head.inner_steps)).astype(np.float32)
        if attack is not None and site.name == "c":
            delta = attack(delta, rng).astype(np.float32)
        data = b"".join(encode(chunks(delta), delta.size, Codec.INT8))
        with store.create() as out:
            out.write(data)
            ref = out.keep()
        hub.hear(60.0 * turn, [said(head, site.name, ref, len(data))])
    hub.work()
    hub.hear(60.0 * turn + 30)
    hub.work()
    judge(hub, store, sites, attack is not None)


def judge(hub: Coordinator, store: FolderStore, sites: list[Speaker], lying: bool) -> None:
    """Sites evaluate each new head, until no more come of it."""
    seen: set[int] = set()
    while (head := hub.heads()[0]).evaluate and head.version not in seen:
        seen.add(head.version)
        version = hub.state.lanes["all"].versions[head.version]
        assert version.update is not None
        after = weights_of(hub, store)
        with store.open(version.update) as blob:
            before = after + np.concatenate(list(decode(blob, after.size)))
        for site in sites:
            pair = site.loss(before), site.loss(after)
            if lying and site.name == "c":
                pair = pair[::-1]
            event = Evaluated(
                site=site.name, fragment="all", version=head.version, before=pair[0], after=pair[1]
            )
            hub.hear(hub.state.now, [event])
        hub.work()


def weights_of(hub: Coordinator, store: FolderStore) -> Vector:
    lane = hub.state.lanes["all"]
    params = lane.versions[lane.head].params
    assert params is not None
    with store.open(params) as blob:
        return np.frombuffer(blob.read(), "<f4")


if __name__ == "__main__":
    main()
