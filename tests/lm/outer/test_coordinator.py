"""Machine, memory and hands together."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ayni.errors import UserError
from ayni.lm.outer import coordinator
from ayni.lm.outer.coordinator import Coordinator
from ayni.lm.outer.files import FolderStore
from ayni.lm.outer.journal import Journal
from ayni.lm.outer.messages import Joined, Pause
from ayni.lm.outer.perform import BlobError
from ayni.lm.outer.schedule import Phase, Schedule
from ayni.lm.outer.state import GiftState, State, dump
from tests.lm.outer.coordinator import MemoryStore, begun
from tests.lm.outer.net import Net, rules
from tests.lm.outer.sites import Site, blob_of, decoded


def once() -> Schedule:
    return Schedule(steps=1, phases=(Phase(from_step=0, inner_steps=1),))


def test_a_federated_mean_is_a_run_of_one_round(tmp_path: Path) -> None:
    """Not only for models: each site's figures stay at home but for what it brings of them."""
    figures = {"a": [1.0, 10.0], "b": [2.0, 20.0], "c": [6.0, 0.0]}
    people = {"a": 100, "b": 100, "c": 200}
    store = MemoryStore()
    found = rules(schedule=once(), quorum=3, codec=0)
    zero = np.zeros(2, np.float32)
    hub = Coordinator(Journal(tmp_path), store, lambda: begun(found, store, {"mean": zero}))
    (head,) = hub.heads()
    for name, values in figures.items():
        data = blob_of(-np.array(values, np.float32), 0)
        said = Site(name, 0).say(head, store.put(data), len(data), tokens=people[name], steps=1)
        hub.hear(1.0, [Joined(site=name, tokens_per_step=1000), said])
    hub.work()
    (end,) = hub.heads()
    (link,) = end.chain
    assert end.status == "done" and link.update is not None
    mean = -decoded(store.blobs[link.update], 2)
    np.testing.assert_allclose(mean, [(1 + 2 + 2 * 6) / 4, (10 + 20) / 4], rtol=1e-6)


def test_blobs_go_when_nothing_needs_them(tmp_path: Path) -> None:
    net = Net(tmp_path, rules(snapshot_every=4, keep=4))
    for _ in range(12):
        net.round()
    lane = net.hub.lane()
    assert len(net.store.blobs) <= 2 * len(lane.versions) + 3
    newcomer = Site("d", 9)
    newcomer.take(net.hub.head(), net.store)
    assert newcomer.global_["all"].tobytes() == net.hub.weights().tobytes()


def test_what_could_not_be_written_down_was_not_heard(tmp_path: Path) -> None:
    class Full(Journal):
        full = False

        def commit(self, *args: object, **options: object) -> None:
            if self.full:
                raise UserError("make room")
            super().commit(*args, **options)

    store = MemoryStore()
    journal = Full(tmp_path)
    first: State = begun(rules(), store, {"all": np.zeros(5, np.float32)})
    hub = Coordinator(journal, store, lambda: first)
    before = dump(hub.state)
    journal.full = True
    with pytest.raises(UserError, match="make room"):
        hub.hear(1.0, [Pause()], {"a": 1})
    assert dump(hub.state) == before and hub.cursor == {}
    journal.full = False
    hub.hear(1.0, [Pause()], {"a": 1})
    journal.close()
    again = Coordinator(Journal(tmp_path), store, lambda: first)
    assert again.state.paused and again.cursor == {"a": 1}


def test_weights_that_are_gone_are_told_and_the_merge_stays_outstanding(tmp_path: Path) -> None:
    net = Net(tmp_path, rules())
    net.take()
    events = [net.sites[name].bring(net.hub.head(), net.store) for name in "abc"]
    params = net.hub.lane().versions[0].params
    kept = net.store.blobs.pop(str(params))
    with pytest.raises(BlobError, match="there is no blob"):
        net.hear(*events)
    assert [action.kind for action in net.hub.todo()] == ["merge"]
    net.store.blobs[str(params)] = kept
    net.hub.work()
    assert net.version == 1


def test_an_update_that_was_damaged_on_the_disk_is_told(tmp_path: Path) -> None:
    net = Net(tmp_path, rules())
    net.round()
    net.take()
    events = [net.sites[name].bring(net.hub.head(), net.store) for name in "abc"]
    update = str(net.hub.lane().versions[1].update)
    net.store.blobs[update] = net.store.blobs[update][:-1] + b"x"
    with pytest.raises(BlobError, match="is damaged"):
        net.hear(*events)


def test_contributions_are_read_through_beside_each_other(tmp_path: Path) -> None:
    """Each waits until all are being read."""
    net = Net(tmp_path, rules())
    net.take()
    events = [net.sites[name].bring(net.hub.head(), net.store) for name in "abc"]
    together, opened = threading.Barrier(3, timeout=10), net.store.open

    @contextmanager
    def open_together(ref: str) -> Iterator[Any]:
        together.wait()
        with opened(ref) as blob:
            yield blob

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(coordinator, "_ABREAST", 3)
        patch.setattr(net.store, "open", open_together)
        net.hub.hear(net.now, events)
        assert net.hub.step()
    gifts = sorted(net.hub.lane().gifts.values(), key=lambda gift: gift.order)
    assert [(gift.site, gift.state) for gift in gifts] == [(s, GiftState.ACCEPTED) for s in "abc"]


def test_an_update_is_told_of_before_the_weights_after_it_are_made(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "blobs")
    vector = np.linspace(-1, 1, 100, dtype=np.float32)
    told: list[tuple[str, int]] = []

    def made(ref: str) -> None:
        assert store.path(ref).exists()
        told.append((ref, len(list(store.folder.iterdir()))))

    first = {"all": vector}
    hub = Coordinator(Journal(tmp_path), store, lambda: begun(rules(quorum=1), store, first), made)
    site = Site("a", 1, first, {"all": 0})
    with store.create() as out:
        data = blob_of(site.delta(hub.heads()[0]))
        out.write(data)
        ref = out.keep()
    said = site.say(hub.heads()[0], ref, len(data))
    hub.hear(1.0, [Joined(site="a", tokens_per_step=100), said])
    hub.work()
    assert told == [(hub.state.lanes["all"].versions[1].update, 3)], "no weights after it yet"


def test_it_runs_in_a_folder_as_in_memory(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "blobs")
    vector = np.linspace(-1, 1, 100, dtype=np.float32)
    hub = Coordinator(Journal(tmp_path), store, lambda: begun(rules(), store, {"all": vector}))
    (head,) = hub.heads()
    site = Site("a", 1, {"all": vector}, {"all": 0})
    for name in "abc":
        data = blob_of(site.delta(head))
        with store.create() as out:
            out.write(data)
            ref = out.keep()
        said = Site(name, 0).say(head, ref, len(data))
        hub.hear(1.0, [Joined(site=name, tokens_per_step=100), said])
    hub.work()
    (after,) = hub.heads()
    assert after.version == 1 and after.digest != head.digest
    left = {path.name for path in store.folder.iterdir()}
    assert len(left) == 3, "the first weights, the update, the weights"
