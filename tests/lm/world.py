"""A run in one process: three sites, a coordinator and the channels between them."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

from ayni.lm import wire
from ayni.lm.config import Run, Site
from ayni.lm.coordinate import Coordination
from ayni.lm.inner import model, ranks
from ayni.lm.inner.checkpoint import Checkpoints
from ayni.lm.inner.lead import Leader
from ayni.lm.inner.settings import Start
from ayni.lm.inner.train import Trainer
from ayni.lm.lines import Lines
from ayni.lm.outer.messages import Wish
from ayni.lm.outer.schedule import Phase, Schedule
from ayni.lm.outer.state import Rules
from ayni.lm.participant import Participant
from ayni.lm.steering import sign
from ayni.signatures import Signer
from tests.lm.inner import small
from tests.lm.lines import CHANNEL, PERSON, PROJECT, Down, Line, Up, keys, steering

NAMES = ("bogota", "cdmx", "santiago")


def run(*, layers: int = 2, checkpoint_every: int = 2, **rules: Any) -> Run:
    plain: dict[str, Any] = {
        "run": "prueba",
        "schedule": Schedule(steps=24, phases=(Phase(from_step=0, inner_steps=4),)),
        "grace": 0.0,
        "grace_share": 0.0,
        "quorum": 3,
        "snapshot_every": 3,
    }
    return Run(
        run="prueba",
        model=Start(shape=small.SHAPE.model_copy(update={"layers": layers})),
        training=small.training(checkpoint_every=checkpoint_every),
        outer=Rules.model_validate({**plain, **rules}),
        sites=tuple(Site(site=name, data="/shards", volume="state") for name in NAMES),
    )


def trainer_of(of: Run, name: str, state: Path, seed: int | None = None) -> Trainer:
    """This process's trainer, alone or as one of several ranks, as its checkpoints left it."""
    settings, here = of.training, ranks.join("cpu")
    assert of.model.shape is not None
    trainer = Trainer(
        settings,
        model.build(model.config_of(of.model.shape), seed=settings.seed if seed is None else seed),
        small.order(settings, name),
        here,
        checkpoints=Checkpoints(state / "checkpoints", here),
        fragments=of.outer.fragments,
    )
    trainer.resume()
    return trainer


def settled(site: Participant) -> bool:
    """Wait for what was begun beside the training; whether there was anything."""
    begun = [work for work in site._beside._work.values() if not work.done()]
    for work in begun:
        work.exception(timeout=60)
    return bool(begun)


class World:
    """Channels that outlive whoever speaks on them, and folders that do."""

    def __init__(self, folder: Path, of: Run) -> None:
        self.folder, self.run = folder, of
        self.lines: Lines | None = None
        self.sites: dict[str, Participant] = {}
        self.hub = self.coordinate()

    def coordinate(self) -> Coordination:
        self.hub = Coordination(self.run, self.folder / "run", self._connect)
        return self.hub

    def _connect(self, count: int) -> Lines:
        self.lines = self.lines or Lines(
            Line(wire.up_schema(self.run.outer, count)),
            Line(wire.down_schema(count)),
            Line(wire.wishes_schema()),
            partial(keys(self.folder).check, PROJECT, CHANNEL),
            steering(self.run, self.folder),
        )
        return self.lines

    def wish(self, wish: Wish, signer: Signer = PERSON) -> int:
        """As a person does, by a key of theirs."""
        assert self.lines is not None
        return self.lines.wishes.send(*sign(signer, PROJECT, self.run, wish))

    def site(self, name: str, stop: Any = lambda: False, **changed: Any) -> Participant:
        """A new attempt at a site: what its volume has is all that it knows."""
        assert self.lines is not None
        state = self.folder / name
        trainer = trainer_of(self.run, name, state, **changed)
        leads = Leader(trainer) if trainer.ranks.count > 1 else trainer
        self.sites[name] = Participant(
            self.run,
            name,
            leads,
            Up(self.lines.up, name),
            Down(self.lines.down, state / "in" / uuid4().hex),
            state,
            heldout=small.documents()
            if self.run.outer.evaluate or self.run.outer.leave_one_out
            else None,
            stop=stop,
        )
        return self.sites[name]

    def begin(self, *names: str) -> World:
        for name in names or NAMES:
            self.site(name)
        return self

    def turn(self, *names: str) -> None:
        """Everybody does what there is to do, sites in turn, until nobody can."""
        self.hub.step()
        for name in names or sorted(self.sites):
            while self.sites[name].step() or settled(self.sites[name]):
                pass
        self.hub.step()

    def to_the_end(self) -> World:
        for _ in range(50):
            if all(site.done for site in self.sites.values()):
                return self
            self.turn()
        raise AssertionError(self.hub.status())

    def until(self, version: int) -> None:
        for _ in range(50):
            if self.version >= version:
                return
            self.turn()
        raise AssertionError(self.hub.status())

    @property
    def version(self) -> int:
        """The last one that all fragments have."""
        return min(lane.head for lane in self.hub.coordinator.state.lanes.values())

    def weights(self) -> bytes:
        """The newest, fragment by fragment."""
        found = b""
        for _, lane in sorted(self.hub.coordinator.state.lanes.items()):
            params = lane.versions[lane.head].params
            assert params is not None
            found += self.hub.store.path(params).read_bytes()
        return found

    def books(self, what: str) -> list[dict[str, Any]]:
        return [record.data for _, record in self.hub.journal.books(what)]
