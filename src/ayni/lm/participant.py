"""A site's part of a run: rounds of training between channels that come and go.

Everything that must stay is in the volume: the trainer's checkpoints, and which version's contribution
was sent. A checkpoint is written before a contribution is, so that a successor that is not sure says
the same bytes again, which changes nothing.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from ayni.channel import Message, Refused
from ayni.errors import UserError, is_full
from ayni.lm import wire
from ayni.lm.config import Run
from ayni.lm.files import consumed, unwritten, written
from ayni.lm.inner.lead import SiteTrainer
from ayni.lm.inner.order import Documents
from ayni.lm.inner.progress import Contribution, Round
from ayni.lm.inner.train import Diverged
from ayni.lm.judge import Judge
from ayni.lm.outer.blocks import BlocksError
from ayni.lm.outer.catchup import CatchUp, catch_up
from ayni.lm.outer.codec import CodecError, decode, encode
from ayni.lm.outer.files import FolderStore
from ayni.lm.outer.fragments import WHOLE
from ayni.lm.outer.messages import (
    Contributed,
    Discarded,
    Failed,
    Head,
    Held,
    Joined,
    Link,
    Progressed,
    SiteEvent,
    Variant,
    nonce_of,
)
from ayni.lm.outer.perform import BlobError, raw_chunks
from ayni.lm.parameters import arrays, chunks, count

log = logging.getLogger(__name__)
_SENT, _LOSSES = "sent", "heldout.json"
_SAY_EVERY = 20.0  # seconds: where the trainer is
_PATIENCE = 600.0  # seconds for a blob to come
_SUSPENDED = 300.0  # seconds that a suspended site waits for a person before its task ends


class Up(Protocol):
    """The channel from a site, as `ayni.channel.Channel` has it."""

    def send(
        self, kind: str, body: dict[str, Any], blob: Path | None = None, *, move: bool = False
    ) -> str: ...

    def waiting(self) -> list[str]: ...

    def refusal(self, name: str, /) -> str | None: ...


class Down(Protocol):
    """The channel to the sites, likewise."""

    def receive(self, timeout: float | None = None) -> Iterator[Message]: ...

    def fetch(self, message: Message, timeout: float | None = None) -> Path: ...


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
        self._up, self._down, self._stop = up, down, stop
        self._site, self._state = run.at(name), state
        self._outgoing = FolderStore(state / "outgoing")
        self._marker = state / _SENT
        self._shapes = {name: tuple(p.shape) for name, p in trainer.parameters.items()}
        self._count = count(self._shapes)
        self._digest = trainer.digest()
        self._sent = self._marker.read_text() if self._marker.exists() else None
        self._sending: tuple[str, str] | None = None  # a message, and the base it is to
        self._head: Head | None = None
        self._blobs: dict[str, Message] = {}
        self._judge: Judge | None = None
        if heldout is not None:
            every = run.outer.evaluate
            self._judge = Judge(name, trainer, heldout, state / _LOSSES, every=every)
        self._suspended: float | None = None  # since when
        self._said = -math.inf
        self._say(Joined(site=name, tokens_per_step=run.tokens_per_step))

    @property
    def version(self) -> int:
        return self.trainer.progress.version

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
        self._listen()
        self._look_whether_sent()
        head, progress = self._head, self.trainer.progress
        if head is None:
            return False
        way = catch_up(head, self.version, self._digest)
        out = self.name in head.suspended
        if way.late and not way.discard and progress.round and not self._has_sent() and not out:
            self._train(progress.round)  # late, and still of use
            return True
        if way.snapshot or way.links:
            return self._catch_up(head, way)
        self.done = head.status == "done"
        if not self.done and self._waits(out):
            return False
        held = head.status == "judging" or (head.status == "paused" and not progress.round)
        if self.done or held or self._has_sent():
            return False
        self._measure(head)
        peak = self.run.training.optimiser.lr
        scale = 1.0 if head.lr is None else head.lr / peak
        self._train(Round(head.version, head.inner_steps, head.step, scale))
        return True

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
            self._progress("waiting")
        if time.monotonic() - self._suspended > _SUSPENDED:
            raise Suspended(f"{remedy}, and `ayni lm train run.toml` for a new task")
        return True

    def _has_sent(self) -> bool:
        return self._base in (self._sent, self._sending[1] if self._sending else None)

    @property
    def _base(self) -> str:
        """The global weights that are trained from: also apart from those of a run begun anew."""
        return f"{self.version} {self._digest}"

    # --- training --------------------------------------------------------------------------

    def _train(self, order: Round) -> None:
        brought = self.trainer.round(order, stop=self._told)
        self.trainer.save()
        with self._outgoing.create() as out:
            vector = chunks(self.trainer.pseudo_gradient())
            for piece in encode(vector, self._count, self.run.outer.codec):
                out.write(piece)
            ref = out.keep()
        self._say_losses(brought)
        self._send(ref, brought)
        self._outgoing.drop([ref])

    def _send(self, ref: str, brought: Contribution) -> None:
        path = self._outgoing.path(ref)
        said = Contributed(
            run=self.run.run,
            fragment=WHOLE,
            base=self.version,
            site=self.name,
            attempt=0,
            digest=self._digest,
            nonce=nonce_of(self.run.run, WHOLE, self.version, self._digest, self.name),
            blob=ref,
            size=path.stat().st_size,
            tokens=brought.tokens,
            steps=brought.steps,
            core_seconds=math.ceil(brought.seconds * self._site.all_cores),
            gpu_seconds=math.ceil(brought.seconds * self._site.all_gpus),
        )
        self._sending = self._say(said, path), self._base

    def _look_whether_sent(self) -> None:
        """A contribution that the site's agent has taken need not be said again, whatever happens."""
        if self._sending is None or self._sending[0] in self._up.waiting():
            return
        name, base = self._sending
        why = self._up.refusal(name)
        if why is not None:
            raise UserError(f"the contribution to version {self.version} was refused: {why}")
        with written(self._marker) as file:
            file.write(base.encode())
        self._sent, self._sending = base, None

    def _told(self) -> bool:
        if time.monotonic() - self._said > _SAY_EVERY:
            self._progress("training")
        return self._stop()

    # --- global weights --------------------------------------------------------------------

    def _listen(self) -> None:
        for message in self._down.receive(timeout=0):
            if message.kind == wire.BLOB:
                self._blobs[message.body["ref"]] = message
            elif message.kind == wire.HEAD:
                head = wire.heard_head(message.body, run=self.run.run)
                self._head = head if head.fragment == WHOLE else self._head

    def _catch_up(self, head: Head, way: CatchUp) -> bool:
        """Get to the head; False: something that it names is not here yet."""
        if head.count != self._count:
            raise UserError(
                f"the run's model has {head.count} values and this one {self._count}: "
                "give the site the run's own configuration"
            )
        wanted = [way.snapshot, *(link.update for link in way.links)]
        if any(ref is not None and ref not in self._blobs for ref in wanted):
            return False
        if way.discard:
            self._discard()
        try:
            self._go(head, way)
        except (_Elsewhere, CodecError, BlobError, BlocksError) as error:
            if way.snapshot is not None:
                raise UserError(f"version {head.version} cannot be made here: {error}") from error
            log.warning("%s: taking the snapshot", error)
            self._digest = ""
            return True
        except (Refused, TimeoutError) as error:
            log.warning("%s: trying again", error)
            return False
        self._say(Held(site=self.name, fragment=WHOLE, version=self.version, digest=self._digest))
        self._say_judgement(head)
        return True

    def _go(self, head: Head, way: CatchUp) -> None:
        if way.snapshot is not None:
            with self._blob(way.snapshot) as path, path.open("rb") as blob:
                weights = arrays(raw_chunks(blob, self._count), self._shapes)
                self.trainer.take(weights, head.snapshot_version)
            self._now(self.trainer.digest(), head.snapshot_digest)
        for link in way.links:
            self._measure(head)
            self._now(self._follow(link), link.digest)
        self._measure(head)

    def _follow(self, link: Link) -> str:
        if link.update is None:  # back to older weights, which these are
            self.trainer.begin_again(link.version)
            return self._digest
        with self._blob(link.update) as path, path.open("rb") as blob:
            return self.trainer.apply(arrays(decode(blob, self._count), self._shapes), link.version)

    def _now(self, digest: str, wanted: str) -> None:
        self._digest = digest
        if digest != wanted:
            raise _Elsewhere(f"version {self.version} has other weights here than elsewhere")

    def _blob(self, ref: str) -> AbstractContextManager[Path]:
        return consumed(self._down.fetch(self._blobs[ref], timeout=_PATIENCE))

    def _discard(self) -> None:
        progress = self.trainer.progress
        if progress.done and not self._has_sent():
            self._say(
                Discarded(
                    site=self.name,
                    fragment=WHOLE,
                    base=self.version,
                    steps=progress.done,
                    tokens=progress.tokens,
                )
            )

    def _measure(self, head: Head) -> None:
        """The held-out loss of the global weights, if these are what is here, and if it is wanted."""
        judge = self._judge
        if judge is not None and not self.trainer.progress.done and judge.wants(head, self._digest):
            self._progress("evaluating")
            judge.measure(self._digest)

    def _say_judgement(self, head: Head) -> None:
        if self._judge is None:
            return
        for verdict in self._judge.verdicts(head):
            self._say(verdict)
        for variant in head.variants:
            if variant.site != self.name and variant.change in self._blobs:
                self._compare(self._judge, head, variant)

    def _compare(self, judge: Judge, head: Head, variant: Variant) -> None:
        """Say what the version would be without another site; where that fails, nothing."""
        self._progress("evaluating")
        try:
            with self._blob(variant.change) as path, path.open("rb") as blob:
                change = arrays(decode(blob, self._count), self._shapes)
                found = judge.compare(head, variant.site, change)
        except (Refused, TimeoutError, CodecError, BlocksError) as error:
            log.warning("version %s without %s: %s", head.version, variant.site, error)
            return
        if found is not None:
            self._say(found)

    # --- saying ----------------------------------------------------------------------------

    def _say(self, event: SiteEvent, blob: Path | None = None) -> str:
        kind, body = wire.said(event)
        return self._up.send(kind, body, blob, move=True)

    def _say_losses(self, brought: Contribution) -> None:
        found = sorted(brought.losses.items())
        body = {
            "base": brought.version,
            "languages": [name for name, _ in found],
            "losses": [loss.mean for _, loss in found],
            "tokens": [loss.tokens for _, loss in found],
            "seconds": round(brought.seconds, 3),
        }
        self._up.send(wire.LOSSES, body)

    def _progress(self, doing: Any) -> None:
        progress = self.trainer.progress
        self._said = time.monotonic()
        self._say(
            Progressed(
                site=self.name,
                seq=time.time_ns() // 1_000_000,
                doing=doing,
                step=progress.done,
                of=progress.round.steps if progress.round else 0,
            )
        )

    def fail(self, reason: str) -> None:
        """Say that this site brings nothing to the version in hand."""
        at = self.version
        try:
            self._say(Failed(site=self.name, fragment=WHOLE, base=at, attempt=0, reason=reason))
        except OSError as error:  # the spool may lie on the disk that is full
            log.warning("the run cannot be told: %s", error)
