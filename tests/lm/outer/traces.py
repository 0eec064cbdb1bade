"""Recorded runs: what a coordinator heard, with the payloads, and what must come of it.

    python -m tests.lm.outer.traces record     writes them anew, from their seeds
    python -m tests.lm.outer.traces replay     what each comes to here

A trace holds no weights but the first and no updates: these must come out the same on any machine.
"""

from __future__ import annotations

import base64
import json
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np

from ayni.lm.outer.messages import (
    EVENTS,
    Contributed,
    Evaluated,
    Event,
    Failed,
    Left,
    Pause,
    Progressed,
    Rejected,
    Resume,
    RollBack,
    Set,
)
from ayni.lm.outer.schedule import Phase, Schedule, warmed_up
from ayni.lm.outer.state import Rules, dump
from tests.lm.outer.coordinator import Coordinator, Killed, MemoryStore, begun
from tests.lm.outer.net import COUNT, Net, rules
from tests.lm.outer.sites import Site

FOLDER = Path(__file__).parent / "traces"

# --- recording --------------------------------------------------------------------------------


def plain(net: Net) -> None:
    """Three sites, H warmed up, to the last step."""
    while net.take().status == "running":
        net.bring("a", "b", "c")


def late(net: Net) -> None:
    """One late by one, two and three versions; one away and back; a newcomer; one that leaves."""
    for behind in (1, 2, 3):
        old = net.take()
        held = net.sites["c"].bring(old, net.store)
        for _ in range(behind):
            net.take("a", "b")
            net.bring("b", "a")
            net.hear(at=net.now + 100)
        net.hear(held)
    net.join("d")
    net.round("d", "a", "c", "b")
    net.hear(Left(site="b"))
    net.round("c", "d", "a")
    head = net.take("a", "c", "d")
    net.hear(Failed(fragment="all", base=head.version, site="d", attempt=0, reason="NaN loss"))
    net.bring("a", "c")


def wire(net: Net) -> None:
    """Messages doubled, reordered and lost; attempts repeated."""
    rng = np.random.default_rng(7)
    before: list[Event] = []
    for _ in range(6):
        head = net.take()
        events: list[Event] = []
        for name in "abc":
            for attempt in range(int(rng.integers(1, 3))):
                events.append(net.sites[name].bring(head, net.store, attempt=attempt))
            doing = Progressed(site=name, seq=int(rng.integers(0, 99)), doing="training")
            events.append(doing)
        mixed = [*events, *events, *before]
        for index in rng.permutation(len(mixed)):
            if rng.random() < 0.8:
                net.hear(mixed[int(index)])
        net.hear(*events, at=net.now + 50)
        net.hear(at=net.now + 50)
        before = events


def hostile(net: Net) -> None:
    """Contributions that are damaged, forged, replayed, too large, too many; and a stranger's."""
    for _ in range(3):
        net.round()
    head, bad = net.take(), net.sites["c"]
    good = bad.bring(head, net.store)
    data = net.store.blobs[good.blob]
    size = len(data)
    nan = np.full(COUNT, np.nan, "<f4").tobytes()
    for attempt, blob in enumerate(
        (data[:-5], data[:99] + b"\0" + data[100:], b"", data[:24] + nan)
    ):
        net.hear(bad.say(head, net.store.put(blob), size, attempt + 1))
    for number, change in enumerate(
        (
            {"nonce": "forged"},
            {"digest": "forged"},
            {"tokens": 1 << 50},
            {"steps": 99},
            {"run": "other"},
            {"base": 99},
            {"base": 0},
            {"size": 1 << 40},
            {"attempt": 1 << 50},
        )
    ):
        net.hear(good.model_copy(update={"attempt": 5 + number, **change}))
    net.bring("c", delta=1000 * bad.delta(head), attempt=14)
    net.bring("c", delta=5 * bad.delta(head), attempt=15)
    other = net.store.put(data + b"x")
    net.hear(bad.say(head, other, size, attempt=15))
    net.hear(Rejected(claimed="a", digest="f00d", reason="the signature does not hold"))
    stranger = Site("x", 99)
    stranger.take(head, net.store)
    net.hear(stranger.bring(head, net.store))
    net.bring("a", "b")
    net.round()


def harm(net: Net) -> None:
    """One site harms, is found and suspended; another says harm where there is none."""

    def votes(harmed: str) -> None:
        version = net.version
        for name in "abc":
            after = None if name in harmed else 2.0
            net.hear(Evaluated(site=name, fragment="all", version=version, before=2.0, after=after))

    for _ in range(2):
        net.round()
        votes("c")
    net.take()
    net.bring("a", "b")
    net.bring("c", delta=-3 * net.sites["c"].delta(net.hub.head()))
    for _ in range(3):
        votes("ab")
    votes("")
    net.take()
    net.bring("c", "a", "b")
    votes("c")


def steered(net: Net) -> None:
    """Two fragments in 4 bits, momentum; a pause, new rates, a rollback, a lost judgement."""
    for turn in range(5):
        for fragment in ("one", "two"):
            net.take(fragment=fragment)
            for name in "abc":
                net.bring(name, fragment=fragment)
        if turn == 1:
            net.hear(Set(name="outer_lr", value=0.5, from_version=3), Pause())
        if turn == 2:
            net.hear(Resume())
    net.hear(RollBack(order="first", to=2), RollBack(order="first", to=2))
    net.hear(RollBack(order="second", to=99))
    for fragment in ("two", "one"):
        net.take(fragment=fragment)
        for name in "cab":
            net.bring(name, fragment=fragment)


MOMENTUM = (
    Phase(from_step=0, inner_steps=5),
    Phase(from_step=10, inner_steps=5, lr=0.7, momentum=0.9),
)

SCENES: dict[str, tuple[Callable[[Net], None], Rules, tuple[str, ...]]] = {
    "plain": (plain, rules(schedule=warmed_up(120, 5, 20)), ("all",)),
    "late": (late, rules(snapshot_every=3, keep=6), ("all",)),
    "wire": (wire, rules(), ("all",)),
    "hostile": (hostile, rules(), ("all",)),
    "harm": (harm, rules(evaluate=True), ("all",)),
    "steered": (
        steered,
        rules(codec=2, snapshot_every=4, schedule=Schedule(steps=1000, phases=MOMENTUM)),
        ("one", "two"),
    ),
}


def record(name: str, folder: Path) -> dict[str, object]:
    """Play a scene, and write down what was heard."""
    scene, found, fragments = SCENES[name]
    net = Net(folder, found, fragments)
    scene(net)
    events = [event for _, heard in net.heard for event in heard]
    refs = {e.blob for e in events if isinstance(e, Contributed)} & set(net.store.ever)
    return {
        "rules": found.model_dump(mode="json"),
        "start": {key: _text(vector.tobytes()) for key, vector in net.start.items()},
        "blobs": {ref: _text(net.store.ever[ref]) for ref in sorted(refs)},
        "steps": [[now, json.loads(EVENTS.dump_json(list(heard)))] for now, heard in net.heard],
        "outcome": outcome(net.hub),
    }


def _text(data: bytes) -> str:
    return base64.b85encode(data).decode()


# --- replaying --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Trace:
    rules: Rules
    start: Mapping[str, np.ndarray]
    blobs: Mapping[str, bytes]
    steps: list[tuple[float, list[Event]]]
    outcome: dict[str, object]


def load(name: str) -> Trace:
    raw = json.loads((FOLDER / f"{name}.json").read_text())
    return Trace(
        Rules.model_validate_json(json.dumps(raw["rules"])),
        {k: np.frombuffer(base64.b85decode(v), "<f4") for k, v in raw["start"].items()},
        {k: base64.b85decode(v) for k, v in raw["blobs"].items()},
        [(now, EVENTS.validate_json(json.dumps(events))) for now, events in raw["steps"]],
        raw["outcome"],
    )


def outcome(hub: Coordinator) -> dict[str, object]:
    """Every version's weights, and the books, in few words."""
    made = [r.data for _, r in hub.journal.books("version")]
    books = [r.model_dump() for _, r in hub.journal.books()]
    text = json.dumps(books, sort_keys=True).encode()
    return {
        "versions": [[d["fragment"], d["version"], str(d["digest"])[:16]] for d in made],
        "heads": {name: lane.head for name, lane in sorted(hub.state.lanes.items())},
        "weights": {name: hub.head(name).digest for name in sorted(hub.state.lanes)},
        "kinds": {
            w: sum(b["what"] == w for b in books) for w in sorted({b["what"] for b in books})
        },
        "books": blake2b(text, digest_size=16).hexdigest(),
    }


def replay(trace: Trace, folder: Path, kill: Callable[[str], bool]) -> tuple[Coordinator, bytes]:
    """Play a trace; at each transition `kill` says whether the coordinator dies there.

    It is then begun anew from its journal, and hears again what the journal does not know.
    """
    store = MemoryStore()
    hub: Coordinator

    def at(point: str) -> None:
        """A transition is known by what the journal held before it."""
        known = blake2b(dump(hub.state) + str(hub.cursor).encode(), digest_size=8).hexdigest()
        if kill(f"{known} {point}"):
            raise Killed(point)

    while True:
        hub = Coordinator(folder, store, lambda: begun(trace.rules, store, trace.start), at)
        try:
            hub.work()
            while (read := hub.cursor.get("trace", 0)) < len(trace.steps):
                now, events = trace.steps[read]
                for event in events:  # a payload is there when its message comes
                    if isinstance(event, Contributed) and event.blob in trace.blobs:
                        store.blobs[event.blob] = trace.blobs[event.blob]
                hub.hear(now, events, {"trace": read + 1})
                hub.work()
            return hub, dump(hub.state)
        except Killed:
            hub.journal.close()


def main() -> None:
    for name in SCENES:
        with tempfile.TemporaryDirectory() as folder:
            if sys.argv[1:] == ["record"]:
                FOLDER.mkdir(exist_ok=True)
                text = json.dumps(record(name, Path(folder)), separators=(",", ":"), sort_keys=True)
                (FOLDER / f"{name}.json").write_text(text + "\n")
            else:
                hub, _ = replay(load(name), Path(folder), lambda point: False)
                print(name, json.dumps(outcome(hub), sort_keys=True))


if __name__ == "__main__":
    main()
