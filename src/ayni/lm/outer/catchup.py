"""What a site does when it hears of a head: the other end of `lineage.head`.

A head says all that a site must know, so a site may have missed any number of them.
"""

from __future__ import annotations

from dataclasses import dataclass

from ayni.lm.outer.messages import Head, Link


@dataclass(frozen=True)
class CatchUp:
    """How a site gets to a head.

    `snapshot`: weights to begin from; None: its own copy will do. `links`: what to apply then, in
    order, comparing the digest after each. `late`: versions that its copy is behind; None: it is of
    another lineage, or there is none. `discard`: what it has trained and not sent no longer counts;
    its optimiser's moments stay.
    """

    snapshot: str | None
    links: tuple[Link, ...]
    late: int | None
    discard: bool


def catch_up(head: Head, held: int | None, digest: str | None) -> CatchUp:
    """How a site that holds a version, with this digest of its own copy, gets to the head."""
    ways = [(head.snapshot_version, head.snapshot_digest)]
    ways += [(link.version, link.digest) for link in head.chain]
    if held is not None and digest is not None and (held, digest) in ways:
        behind = len(ways) - 1 - ways.index((held, digest))
        return CatchUp(None, head.chain[len(head.chain) - behind :], behind, behind > head.window)
    return CatchUp(head.snapshot, head.chain, None, held is not None)
