"""The exceptions that a command shows to a person as a single line, with exit code 2."""

from __future__ import annotations

import errno
from collections.abc import Iterator


class UserError(Exception):
    """A mistake that the person can mend: the message names what is wrong and the remedy."""


class NoRoom(UserError):
    """A disk is full; what was being written is not there, and all that was there still is."""


def is_full(error: BaseException | None) -> bool:
    """Whether an error, or what caused it, is that a disk or a quota is full."""
    return any(
        isinstance(one, NoRoom) or getattr(one, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
        for one in _causes(error)
    )


def _causes(error: BaseException | None) -> Iterator[object]:
    while error is not None:
        yield error
        # of torch's distributed checkpoints: by rank, the error and where it came from
        yield from (found[0] for found in getattr(error, "failures", {}).values())
        error = error.__cause__
