"""What one exchange takes, and how much of it a site need not wait for. Pure.

`bench.outer_clock` plays the exchanges one by one: the share of the time in which sites train is a tenth
higher here at most, a fifth with fragments over a whole run by the default schedule.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from ayni.lm.outer.codec import Codec

_SAID = 1.0  # seconds that a message waits in spools and between looks
_TRIPS = 4  # there and back for a blob: declared, put or got, committed, told
#: Seconds of one core for a value: a site encodes and hashes; the coordinator inspects and merges what each
#: site brought; a site hashes, decodes and applies the answer. By `bench.outer_clock.rates`.
_WORK = {
    Codec.FLOAT32: (9.4e-9, 29.4e-9, 11.2e-9),
    Codec.INT8: (3.9e-9, 19.1e-9, 5.7e-9),
    Codec.INT4: (3.8e-9, 15.5e-9, 5.0e-9),
    Codec.INT4_DEFLATE: (8.8e-9, 26.8e-9, 7.8e-9),
}


@dataclass(frozen=True)
class Link:
    """Seconds of one round's exchange: what the model as a whole takes on its way from a site's weights to
    the next version there; and of `delay`, which each fragment takes, whatever its size.
    """

    up: float
    down: float
    delay: float
    encode: float = 0.0
    merge: float = 0.0
    apply: float = 0.0

    @property
    def computed(self) -> float:
        return self.encode + self.merge + self.apply

    @property
    def busiest(self) -> float:
        """What one part of the way is busy with the whole model: it carries one fragment after the other."""
        return max(self.encode, self.up, self.merge, self.down, self.apply)

    def piece(self, fragments: int) -> float:
        """Seconds of one fragment's exchange."""
        return (self.computed + self.up + self.down) / fragments + self.delay


def link(
    count: int, blob: int, codec: Codec, up: float, down: float, delay: float, sites: int
) -> Link:
    """The way of a model of `count` values, `blob` bytes in all.

    Args:
        up, down: bits per second.
        delay: there and back, in seconds.
        sites: whose contributions are merged.
    """
    encode, merge, apply = _WORK[codec]
    return Link(
        up=8 * blob / up,
        down=8 * blob / down,
        delay=2 * (_SAID + _TRIPS * delay),
        encode=count * encode,
        merge=count * sites * merge,
        apply=count * apply,
    )


@dataclass(frozen=True)
class Streaming:
    """A model in fragments, and the inner steps between bringing one and merging its answer.

    `apart`: inner steps from one fragment's exchange to the next one's. They stay what the first round,
    which is a short one, made them.
    """

    fragments: int = 1
    overlap: int = 0
    apart: float = math.inf

    def queue(self, link: Link, pace: float) -> float:
        """Seconds that the last fragment waits for those brought right before it."""
        if self.fragments == 1:
            return 0.0
        behind = link.busiest / self.fragments - self.apart * pace
        return (self.fragments - 1) * max(0.0, behind)

    def lasts(self, link: Link, pace: float) -> float:
        """Seconds until the answer to the fragment that waits longest is there."""
        return link.piece(self.fragments) + self.queue(link, pace)

    def seen(self, link: Link, pace: float, length: int) -> float:
        """The seconds of a round of `length` steps in which a site exchanges and does not train.

        Each fragment's exchange is hidden behind the steps that it may be late; and no link carries
        more than it can, in either direction, nor does the coordinator merge more.
        """
        hidden = min(self.overlap, length) * pace
        if (
            hidden > self.apart * pace
        ):  # fragments are on their way together, and waited for together
            waits = max(0.0, self.lasts(link, pace) - hidden)
        else:
            waits = self.fragments * max(0.0, link.piece(self.fragments) - hidden)
        return max(waits, link.busiest - length * pace)


@dataclass(frozen=True)
class Exchange:
    """One fragment's exchange, beside the inner step of the slowest site that the others wait for.

    Args:
        link: the longest way among these sites'.
        pace: seconds of that step.
        length: inner steps of the run's longest rounds.
    """

    link: Link
    streaming: Streaming
    site: str
    pace: float
    length: int

    @property
    def parts(self) -> dict[str, float]:
        """Seconds, by what takes them."""
        link, size = self.link, self.streaming.fragments
        return {
            "encode": link.encode / size,
            "send": link.up / size + link.delay / 2,
            "merge": link.merge / size,
            "bring": (link.down + link.apply) / size + link.delay / 2,
            "queue": self.streaming.queue(link, self.pace),
        }

    @property
    def seconds(self) -> float:
        return self.streaming.lasts(self.link, self.pace)

    @property
    def waits(self) -> float:
        """Seconds in which the sites wait in one of the longest rounds."""
        return self.streaming.seen(self.link, self.pace, self.length)

    @property
    def fits(self) -> bool:
        """Whether there is an overlap, within a round, at which nobody waits."""
        return max(self.seconds, self.link.busiest) <= self.length * self.pace

    def needed(self, fragments: int | None = None) -> int:
        """The overlap, in inner steps, at which nobody waits; with so many fragments."""
        ours = self.streaming
        parts = fragments or ours.fragments
        other = replace(ours, fragments=parts, apart=ours.apart * ours.fragments / parts)
        return math.ceil(other.lasts(self.link, self.pace) / self.pace)
