"""The same run in one process, undisturbed: the same participants and coordinator, channels in memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from ayni.lm import wire
from ayni.lm.config import Run
from ayni.lm.coordinate import Coordination
from ayni.lm.corpus.shards import Shards
from ayni.lm.inner.progress import Loss
from ayni.lm.lines import Lines
from ayni.lm.outer.files import FolderStore
from ayni.lm.outer.fragments import WHOLE
from ayni.lm.outer.journal import Journal
from ayni.lm.outer.perform import raw_chunks
from ayni.lm.parameters import arrays
from ayni.lm.participant import Participant
from ayni.lm.site import build_trainer
from tests.joint.configuration import Plan
from tests.lm.lines import CHANNEL, PROJECT, Down, Line, Up, keys, steering


@dataclass(frozen=True)
class Result:
    """How a run ended.

    Attributes:
        digest: of the last weights.
        steps: inner steps of the run.
        merged: contributions, by site.
        tokens: in them.
        late: contributions that were merged though they were late.
        loss: in nats a token, on what is held out at all sites.
    """

    digest: str
    steps: int
    merged: Mapping[str, int]
    tokens: Mapping[str, int]
    late: int
    loss: float

    @property
    def accepted(self) -> int:
        return sum(self.tokens.values())

    def steps_each(self, plan: Plan) -> int:
        """How many steps of all three sites give as many tokens."""
        return round(sum(self.merged.values()) * plan.inner_steps / len(self.merged))


def train(run: Run, folder: Path, shards: Mapping[str, Path]) -> Result:
    """Sites in turn, round by round, to the end; with one thread, as a task of one core has."""
    torch.set_num_threads(1)
    lines: list[Lines] = []

    def connect(count: int) -> Lines:
        up, down = Line(wire.up_schema(run.outer, count)), Line(wire.down_schema(count))
        check = partial(keys(folder).check, PROJECT, CHANNEL)
        lines.append(Lines(up, down, Line(wire.wishes_schema()), check, steering(run, folder)))
        return lines[0]

    with closing(Coordination(run, folder / "run", connect)) as hub:
        up, down = lines[0].up, lines[0].down
        assert isinstance(up, Line) and isinstance(down, Line)
        sites = []
        for name, data in shards.items():
            state = folder / name
            trainer = build_trainer(run, name, data, state, folder)
            channels = Up(up, name), Down(down, state / "in")
            sites.append(Participant(run, name, trainer, *channels, state))
        while not hub.done:
            hub.step()
            for site in sites:
                while site.step():
                    pass
    return judge(run, folder / "run", shards)


def judge(run: Run, folder: Path, shards: Mapping[str, Path]) -> Result:
    """What a coordinator's folder says of a run that is over, and how good its last weights are."""
    with closing(Journal(folder)) as journal:
        state = journal.state()
        merged = [record.data for _, record in journal.books("merged")]
    assert state is not None
    lane = state.lanes[WHOLE]
    last = lane.versions[lane.head]
    assert last.params is not None
    counts = {site: [one["tokens"] for one in merged if one["site"] == site] for site in shards}
    nats = count = 0.0
    with FolderStore(folder / "blobs").open(last.params) as blob:
        weights = list(raw_chunks(blob, lane.count))
    for name, data in shards.items():
        trainer = build_trainer(run, name, data, folder / "judge", folder)
        shapes = {name: tuple(p.shape) for name, p in trainer.parameters.items()}
        trainer.take(arrays(iter(weights), shapes), last.number)
        assert trainer.digest() == last.digest
        found = trainer.evaluate(Shards(data, "heldout")).values()
        nats, count = nats + _sum(found, "nats"), count + _sum(found, "tokens")
    late = sum(one["staleness"] > 0 for one in merged)
    tokens = {site: sum(found) for site, found in counts.items()}
    rounds = {site: len(found) for site, found in counts.items()}
    return Result(last.digest, last.step, rounds, tokens, late, nats / count)


def _sum(losses: Iterable[Loss], field: str) -> float:
    return float(sum(getattr(one, field) for one in losses))
