"""What can go wrong in a transfer."""

from __future__ import annotations

from ayni.errors import UserError


class TransferError(UserError):
    """A transfer that failed.

    Attributes:
        retryable: the same transfer may go well later (the network, a full store, a busy server).
        code: a short word for programs (`network`, `changed`, `corrupt`, `refused`, `disk`, …).
    """

    def __init__(self, message: str, *, code: str = "refused", retryable: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.retryable = retryable


class Stopped(Exception):
    """The transfer was asked to stop; what arrived is kept for the next time."""


class ExpiredUrl(Exception):
    """The store refused a signed URL: ask for a fresh one."""


class Again(Exception):
    """A passing failure; `after` seconds if the server said how long to wait."""

    def __init__(self, message: str, after: float | None = None) -> None:
        super().__init__(message)
        self.after = after
