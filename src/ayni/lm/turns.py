"""When a site does what with each fragment of the model. Pure: its progress and the run's heads in.

All moments are steps of the run's clock, not of a site's: with fragments that are exchanged in turn
(Streaming DiLoCo, arXiv 2501.18512) each has its own rounds, and the clock goes through all of them. A
fragment's pseudo-gradient is brought when it is due; the answer is merged `overlap` steps later, neither
sooner nor later, so that a run depends on who brought what and not on how fast a message went.
"""

from __future__ import annotations

from ayni.lm.inner.progress import Part, Progress
from ayni.lm.outer.catchup import CatchUp
from ayni.lm.outer.messages import Head
from ayni.lm.outer.state import Rules


def merge_at(part: Part, rules: Rules) -> int:
    """When the answer to what is out is merged: before the next round's end, and the run's."""
    assert part.out is not None
    at = part.out.at
    length = rules.schedule.inner_steps(part.due if part.due is not None else at)
    return min(at + min(rules.overlap, length), max(at, rules.schedule.steps))


def is_due(part: Part, clock: int) -> bool:
    """Whether a fragment's pseudo-gradient is to be brought now. Nothing trained is nothing brought."""
    return part.out is None and part.done > 0 and part.due is not None and clock >= part.due


def takes(part: Part, way: CatchUp, clock: int, rules: Rules, *, suspended: bool = False) -> bool:
    """Whether a site that is behind a head goes there now, rather than finish what it has begun."""
    if way.snapshot is None and not way.links:
        return False
    if way.late is None:  # its base is of another lineage
        return True
    if part.out is not None:
        return clock >= merge_at(part, rules)
    return way.discard or suspended or not part.done


def waits(part: Part, clock: int, rules: Rules) -> bool:
    """Whether a site must not train on before an answer was merged."""
    return part.out is not None and clock >= merge_at(part, rules)


def stretch_end(progress: Progress, rules: Rules) -> int | None:
    """Up to where a site may train before something is due; None: nothing is asked of it any more."""
    clock = progress.clock
    ends = []
    for part in progress.parts.values():
        if part.out is not None:
            ends.append(merge_at(part, rules))
        elif part.due is not None:
            ends.append(max(part.due, clock + 1))
    return min(ends, default=None)


def reached(progress: Progress, head: Head) -> None:
    """A site has got to a head: its next round, and where the clock stands.

    A site that is late goes on where the others are; after a rollback all go back, to where the
    fragment stands that is furthest on.
    """
    part = progress.parts[head.fragment]
    back = head.step <= part.step
    part.step = head.step
    part.due = head.step + head.inner_steps if head.inner_steps else None
    if back:
        progress.clock = max(one.step for one in progress.parts.values())
    else:
        progress.clock = max(progress.clock, head.step)
