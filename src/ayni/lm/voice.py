"""What a site says of itself: on its channel to the coordinator."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any, Protocol

from ayni.lm import wire
from ayni.lm.inner.progress import Loss, Progress
from ayni.lm.outer.messages import Failed, Progressed, SiteEvent
from ayni.lm.tags import POOLED, smallest_apart

log = logging.getLogger(__name__)


class Up(Protocol):
    """The channel from a site, as `ayni.channel.Channel` has it."""

    def send(
        self, kind: str, body: dict[str, Any], blob: Path | None = None, *, move: bool = False
    ) -> str: ...

    def waiting(self) -> list[str]: ...

    def refusal(self, name: str, /) -> str | None: ...


class Voice:
    """A site's. `said`: when it last said where it is, by the monotonic clock."""

    def __init__(self, site: str, up: Up) -> None:
        self.site, self.up = site, up
        self.said = float("-inf")

    def say(self, event: SiteEvent, blob: Path | None = None, *, move: bool = True) -> str:
        """Send a message; its name. `move`: the blob's file goes with it."""
        kind, body = wire.said(event)
        return self.up.send(kind, body, blob, move=move)

    def losses(self, progress: Progress) -> None:
        """Of the first fragment's round, which ends: the run's. Losses are counted anew from here."""
        kept, small = smallest_apart(progress.take_losses(), wire.LANGUAGES)
        if small:
            kept[POOLED] = Loss(sum(x.nats for x in small), sum(x.tokens for x in small))
        found = sorted(kept.items())
        body = {
            "base": progress.version,
            "languages": [name for name, _ in found],
            "losses": [loss.mean for _, loss in found],
            "tokens": [loss.tokens for _, loss in found],
            "seconds": round(progress.seconds, 3),
        }
        self.up.send(wire.LOSSES, body)

    def progress(self, progress: Progress, doing: Any) -> None:
        """Where it is in the first fragment's round."""
        self.said = time.monotonic()
        said = Progressed(
            site=self.site,
            seq=time.time_ns() // 1_000_000,
            doing=doing,
            step=progress.done,
            of=progress.done + progress.left,
        )
        self.say(said)

    def failed(self, progress: Progress, reason: str) -> None:
        """It brings nothing to the versions in hand."""
        try:
            for fragment, part in progress.parts.items():
                at = part.version
                self.say(
                    Failed(site=self.site, fragment=fragment, base=at, attempt=0, reason=reason)
                )
        except OSError as error:  # the spool may lie on the disk that is full
            log.warning("the run cannot be told: %s", error)
