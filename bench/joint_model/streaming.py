"""A model that is exchanged in fragments while the sites train on, as a run does it (`ayni.lm.turns`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ayni.lm import turns
from ayni.lm.inner.progress import Brought, Stretch
from ayni.lm.inner.train import Trainer
from ayni.lm.outer import weights
from ayni.lm.outer.merge import Step
from ayni.lm.outer.schedule import Schedule
from ayni.lm.outer.state import Rules
from bench.joint_model.exchange import Encoded


class Streamed:
    """Sites in step with each other; each fragment has its own rounds."""

    def __init__(
        self,
        sites: Sequence[Trainer],
        exchanges: Mapping[str, Encoded],
        schedule: Schedule,
        overlap: int,
    ) -> None:
        self._sites, self._exchanges = sites, exchanges
        count = len(exchanges)
        self._rules = Rules(run="bench", schedule=schedule, fragments=count, overlap=overlap)
        self._updates: dict[str, bytes] = {}
        self.sent: list[int] = []  # bytes of each exchange, both directions, of a site
        for place, fragment in enumerate(exchanges):
            for site in sites:
                site.progress.parts[fragment].due = schedule.turn(place, count)

    def go(self) -> None:
        """To the end of the run."""
        progress = self._sites[0].progress
        while (end := turns.stretch_end(progress, self._rules)) is not None:
            stretch = Stretch(progress.clock, end)
            for site in self._sites:
                site.train(stretch)
            for fragment, part in progress.parts.items():
                if turns.is_due(part, progress.clock):
                    self._bring(fragment)
                if turns.waits(part, progress.clock, self._rules):
                    self._merge(fragment)

    def _bring(self, fragment: str) -> None:
        brought = [site.progress.bring(fragment) for site in self._sites]
        parts = weights.shares([weights.raw_weight(one.tokens, 0) for one in brought])
        phase = self._rules.schedule.at(self._sites[0].progress.parts[fragment].step)
        step = Step(phase.lr, phase.momentum)
        self._updates[fragment], sent = self._exchanges[fragment].merged(parts, step)
        self.sent.append(sent)

    def _merge(self, fragment: str) -> None:
        update = self._updates.pop(fragment)
        for site in self._sites:
            part = site.progress.parts[fragment]
            out, due = part.out, part.due
            assert isinstance(out, Brought) and due is not None
            mix = self._rules.mix if site.progress.clock > out.at else 0.0
            self._exchanges[fragment].give(site, update, part.version + 1, mix)
            length = self._rules.schedule.inner_steps(due)
            part.step, part.due = due, due + length if length else None
