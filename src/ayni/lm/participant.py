"""A site's part of a run: training between channels that come and go.

Everything that must stay is in the volume: the trainer's checkpoints, what was encoded, and to which
versions something was sent. A successor that is not sure says the same bytes again, which changes
nothing. With `overlap` the site trains on while what it brought is encoded, sent, merged and answered.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from ayni.channel import Refused
from ayni.errors import UserError, is_full
from ayni.lm import turns, wire
from ayni.lm.beside import Beside
from ayni.lm.bringing import Bringing
from ayni.lm.config import Run
from ayni.lm.copies import Copies
from ayni.lm.files import unwritten
from ayni.lm.incoming import Down, Incoming
from ayni.lm.inner.lead import SiteTrainer
from ayni.lm.inner.order import Documents
from ayni.lm.inner.progress import Part, Paused, Progress, Stretch
from ayni.lm.inner.train import Diverged
from ayni.lm.judge import Judge
from ayni.lm.outer.blocks import BlocksError
from ayni.lm.outer.catchup import CatchUp, catch_up
from ayni.lm.outer.codec import CodecError
from ayni.lm.outer.messages import (
    Discarded,
    Head,
    Joined,
    Variant,
)
from ayni.lm.outer.perform import BlobError, raw_chunks
from ayni.lm.parameters import arrays, count
from ayni.lm.voice import Up, Voice

log = logging.getLogger(__name__)
_LOSSES = "heldout.json"
_SAY_EVERY = 20.0  # seconds: where the trainer is
_LOOK_EVERY = 1.0  # seconds: what has come, while it trains
_SUSPENDED = 300.0  # seconds that a suspended site waits for a person before its task ends


class _Elsewhere(Exception):
    """The weights after an update are not those that all others have."""


class Suspended(UserError):
    """What this site brings is refused; a person must look."""


class Participant:
    """One site's part of a run. `step` does what can be done; `done` says that the run is over."""

    def __init__(
        self,
        run: Run,
        name: str,
        trainer: SiteTrainer,
        up: Up,
        down: Down,
        state: Path,
        *,
        heldout: Documents | None = None,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self.run, self.name, self.trainer = run, name, trainer
        self.done = False
        self._voice, self._stop = Voice(name, up), stop
        self._rules, self._state = run.outer, state
        self._shapes = {
            fragment: {name: tuple(trainer.parameters[name].shape) for name in names}
            for fragment, names in sorted(trainer.fragments.items())
        }
        self._counts = {fragment: count(shapes) for fragment, shapes in self._shapes.items()}
        self._lead = next(iter(self._counts))
        self._beside = Beside(apart=run.outer.overlap > 0)
        self._copies = Copies(trainer, self._voice, self._beside, self._counts)
        self._digests = self._copies.digests
        self._incoming = Incoming(run.run, down, self._shapes, self._beside)
        self._bringing = Bringing(
            run, trainer, self._voice, state, self._counts, self._digests, self._beside
        )
        self._judge: Judge | None = None
        if heldout is not None:
            every = run.outer.evaluate
            self._judge = Judge(name, trainer, heldout, state / _LOSSES, every=every)
        self._suspended: float | None = None  # since when
        self._looked, self._stopping = -math.inf, False
        self._voice.say(Joined(site=name, tokens_per_step=run.tokens_per_step))

    @property
    def version(self) -> int:
        return self._progress.version

    @property
    def _progress(self) -> Progress:
        return self.trainer.progress

    def step(self) -> bool:
        """Do what can be done now; False: there is nothing but to wait.

        Raises:
            Paused: told to stop; a checkpoint was written.
            UserError: this site cannot go on; it has said so. What it has trained is in its last
                checkpoint.
        """
        try:
            return self._step()
        except Suspended:
            raise
        except (Diverged, CodecError) as error:
            self.fail(wire.NOT_FINITE)
            raise UserError(str(error)) from error
        except (UserError, OSError) as error:
            full = is_full(error)
            self.fail(wire.NO_ROOM if full else wire.CANNOT)
            if full and isinstance(error, OSError):
                raise unwritten(Path(error.filename or self._state), error) from error
            raise

    def _step(self) -> bool:
        self._look()
        heads = self._incoming.heads
        if not self._incoming.complete:
            return False
        moved = [self._exchange(heads[fragment]) for fragment in self._counts]
        self.done = all(head.status == "done" and self._is_at(head) for head in heads.values())
        if any(moved) or self.done:
            return any(moved)
        if self._waits(self._is_out):
            return False
        if self._holds():
            self._incoming.ask_ahead()
            return False
        self._train()
        return True

    @property
    def _is_out(self) -> bool:
        """Whether this site is suspended."""
        return any(self.name in head.suspended for head in self._incoming.heads.values())

    def _exchange(self, head: Head) -> bool:
        """Bring what is due of a fragment, merge what is to be merged; whether there was anything."""
        fragment, progress = head.fragment, self._progress
        part = progress.parts[fragment]
        if part.due is None and head.inner_steps and self._is_at(head):
            turns.reached(progress, head)  # the first that is heard
        due = turns.is_due(part, progress.clock) and not self._is_out
        if due := due and self._copies.is_sound(fragment):
            self._bring(fragment)
        elif part.out is not None and part.out.at == progress.clock:
            self._bringing.restore(fragment)
        if not self._takes(part, self._way(head)):
            return due
        self._copies.is_sound(fragment)  # or else it is known by now that it is not
        return self._catch_up(head, self._way(head)) or due

    def _way(self, head: Head) -> CatchUp:
        held = self._progress.parts[head.fragment].version
        return catch_up(head, held, self._digests[head.fragment])

    def _takes(self, part: Part, way: CatchUp) -> bool:
        return turns.takes(part, way, self._progress.clock, self._rules, suspended=self._is_out)

    def _is_at(self, head: Head) -> bool:
        part = self._progress.parts[head.fragment]
        return (part.version, self._digests[head.fragment]) == (head.version, head.digest)

    def _holds(self) -> bool:
        """Whether the site must wait: for an answer, for people, or since there is no more to do."""
        progress, heads = self._progress, self._incoming.heads
        parts = progress.parts
        for fragment, part in parts.items():
            if turns.waits(part, progress.clock, self._rules):
                return True
            if self._takes(part, self._way(heads[fragment])):
                return True  # and what that needs is not here yet
        status = {head.status for head in heads.values()}
        begun = all(part.out is None and part.done for part in parts.values())
        if "judging" in status or ("paused" in status and not begun):
            return True
        return turns.stretch_end(progress, self._rules) is None

    def _waits(self, suspended: bool) -> bool:
        """Whether there is nothing to do because what this site brings would be refused.

        Raises:
            Suspended: for long enough: it should not hold an allocation for nothing.
        """
        if not suspended:
            self._suspended = None
            return False
        remedy = (
            f"{self.name} is suspended: a merge did harm with what it brought, and none without. Look "
            f"at its data and this log, then `ayni lm readmit run.toml {self.name}`"
        )
        if self._suspended is None:
            self._suspended = time.monotonic()
            log.warning("%s", remedy)
            self._voice.progress(self._progress, "waiting")
        if time.monotonic() - self._suspended > _SUSPENDED:
            raise Suspended(f"{remedy}, and `ayni lm train run.toml` for a new task")
        return True

    def _bring(self, fragment: str) -> None:
        """Take a fragment's pseudo-gradient as it is now, and have it encoded and sent.

        Before that of the first fragment a checkpoint is written, and what it does not need of what was
        encoded is forgotten.
        """
        if fragment == self._lead:
            self.trainer.save()
            self._bringing.sweep()
            if not self._bringing.has_sent(fragment):
                self._voice.losses(self._progress)
        self._progress.bring(fragment)
        self._bringing.restore(fragment)

    # --- training --------------------------------------------------------------------------

    def _train(self) -> None:
        """To where the next thing is due; no further, if it was told to stop when it came there before."""
        if self._stopping:
            self.pause()
        progress, head = self._progress, self._incoming.heads[self._lead]
        self._measure(head)
        if self._is_at(head):
            peak = self.run.training.optimiser.lr
            progress.lead.lr_scale = 1.0 if head.lr is None else head.lr / peak
        end = turns.stretch_end(progress, self._rules)
        assert end is not None
        stretch = Stretch(progress.clock, end, progress.lead.lr_scale)
        try:
            self._stopping = self.trainer.train(stretch, stop=self._told)
        except Paused:
            self._bringing.settle()
            raise

    def _told(self) -> bool:
        """Between two inner steps: look around, and say whether to stop."""
        now = time.monotonic()
        if self._beside.apart and now - self._looked > _LOOK_EVERY:
            self._look()
        if now - self._voice.said > _SAY_EVERY:
            self._voice.progress(self._progress, "training")
        return self._stop()

    def _look(self) -> None:
        """Whatever needs no training to stop: hear, send what is encoded, fetch what will be wanted."""
        self._looked = time.monotonic()
        self._incoming.listen()
        self._bringing.look()
        self._copies.look()
        if not self._beside.apart:
            return
        for fragment, part in self._progress.parts.items():
            if part.out is not None and fragment in self._incoming.heads:
                way = self._way(self._incoming.heads[fragment])
                self._incoming.fetch_ahead(fragment, way)

    # --- global weights --------------------------------------------------------------------

    def _catch_up(self, head: Head, way: CatchUp) -> bool:
        """Get to the head; False: something that it names is not here yet."""
        if not self._incoming.has(way):
            return False
        try:
            self._go(head, way)
        except (_Elsewhere, CodecError, BlobError, BlocksError) as error:
            if way.snapshot is not None:
                raise UserError(f"version {head.version} cannot be made here: {error}") from error
            log.warning("%s: taking the snapshot", error)
            self._copies.spoil(head.fragment)
            return True
        except (Refused, TimeoutError) as error:
            log.warning("%s: trying again", error)
            return False
        turns.reached(self._progress, head)
        self._say_judgement(head)
        return True

    def _go(self, head: Head, way: CatchUp) -> None:
        fragment = head.fragment
        mix = self._mix(fragment, way)
        self._discard(fragment, kept=mix > 0)
        if way.snapshot is not None:
            if head.version < self._progress.parts[fragment].version:
                self._bringing.forget(fragment)
            with self._incoming.blob(way.snapshot) as path, path.open("rb") as blob:
                shapes = self._shapes[fragment]
                weights = arrays(raw_chunks(blob, self._counts[fragment]), shapes)
                self.trainer.take(weights, head.snapshot_version, fragment)
            self._now(fragment, self.trainer.digest(fragment), head.snapshot_digest)
        for link in way.links:
            self._measure(head)
            if link.update is None:  # back to older weights, which these are
                self.trainer.begin_again(link.version, fragment)
                continue
            update = self._incoming.vector(fragment, link.update)
            found = self.trainer.apply(update, link.version, fragment, mix=mix, hashed=not mix)
            if not mix:
                self._now(fragment, found, link.digest)
        if mix:  # training goes on while it is hashed
            self._copies.prove(fragment, head.digest)
            return
        self._measure(head)
        self._copies.held(fragment)

    def _mix(self, fragment: str, way: CatchUp) -> float:
        """How much a site keeps of its own weights: something, where it trained on since it brought them."""
        out = self._progress.parts[fragment].out
        back = way.snapshot is not None or any(link.update is None for link in way.links)
        if out is None or back or out.at == self._progress.clock:
            return 0.0
        return self._rules.mix

    def _now(self, fragment: str, digest: str, wanted: str) -> None:
        self._digests[fragment] = digest
        if digest != wanted:
            version = self._progress.parts[fragment].version
            raise _Elsewhere(f"version {version} has other weights here than elsewhere")

    def _discard(self, fragment: str, *, kept: bool) -> None:
        """Say what counts no longer: what was brought and is lost, and what was trained and is not kept."""
        part, steps, tokens = self._progress.parts[fragment], 0, 0
        if part.out is not None and not self._bringing.is_said(fragment):
            steps, tokens = part.out.steps, part.out.tokens
        if not kept:
            steps, tokens = steps + part.done, tokens + part.tokens
        if steps:
            self._voice.say(
                Discarded(
                    site=self.name,
                    fragment=fragment,
                    base=part.version,
                    steps=steps,
                    tokens=round(tokens * self._bringing.share(fragment)),
                )
            )

    def _measure(self, head: Head) -> None:
        """The held-out loss of the global weights, if these are what is here, and if it is wanted."""
        judge, digest = self._judge, self._digests[head.fragment]
        if judge is not None and not self._progress.done and judge.wants(head, digest):
            self._voice.progress(self._progress, "evaluating")
            judge.measure(digest)

    def _say_judgement(self, head: Head) -> None:
        if self._judge is None:
            return
        for verdict in self._judge.verdicts(head):
            self._voice.say(verdict)
        for variant in head.variants:
            if variant.site != self.name and self._incoming.offers(variant.change):
                self._compare(self._judge, head, variant)

    def _compare(self, judge: Judge, head: Head, variant: Variant) -> None:
        """Say what the version would be without another site; where that fails, nothing."""
        self._voice.progress(self._progress, "evaluating")
        try:
            change = self._incoming.vector(head.fragment, variant.change)
            found = judge.compare(head, variant.site, change)
        except (Refused, TimeoutError, CodecError, BlocksError) as error:
            log.warning("version %s without %s: %s", head.version, variant.site, error)
            return
        if found is not None:
            self._voice.say(found)

    def pause(self) -> NoReturn:
        """Write a checkpoint, for a successor to go on from.

        Raises:
            Paused: always.
        """
        self._bringing.settle()
        self.trainer.pause()

    def fail(self, reason: str) -> None:
        """Say that this site brings nothing to the versions in hand."""
        self._voice.failed(self._progress, reason)
