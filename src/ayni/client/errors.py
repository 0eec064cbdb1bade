"""What can go wrong between a program and the hub: one clear line each, and the hub's problem document."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ayni.errors import NoRoom, UserError

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class AyniError(UserError):
    """Everything this package raises. `problem` is the hub's problem document (RFC 9457), if it sent one."""

    def __init__(
        self, message: str, *, status: int | None = None, problem: Mapping[str, Any] | None = None
    ) -> None:
        # One line, and nothing in it that could play with a terminal, wherever it comes from.
        super().__init__(" ".join(_CONTROL.sub(" ", message).split()))
        self.status = status
        self.problem: Mapping[str, Any] = problem or {}


class NotSignedIn(AyniError):
    """No hub or no token is known here."""


class HubUnreachable(AyniError):
    """No answer from the hub's address, tried again as often as is sensible."""


class NotAHub(AyniError):
    """Something answers at the address, but it is no Ayni hub."""


class TokenRefused(AyniError):
    """401: the token is unknown, expired or revoked."""


class NotAllowed(AyniError):
    """403: the token is good, but not for this."""


class NotFound(AyniError):
    """404: no such task, array or file in the token's project."""


class Conflict(AyniError):
    """409: the present state does not allow it."""


class BadRequest(AyniError):
    """Another 4xx: the message names the field and the remedy."""


class HubFailed(AyniError):
    """5xx: the hub's fault."""


class StoreFull(AyniError, NoRoom):
    """The project's quota, or the store's own disk, is full: nothing was taken, try again later."""


class InvalidTask(AyniError):
    """What was to be submitted is not well formed; nothing was sent."""


class TaskFailed(AyniError):
    """A task or array did not end well."""


class WaitTimeout(AyniError):
    """Waiting came to its limit; what was waited for goes on."""


class TransferFailed(AyniError):
    """A file did not arrive whole."""


_BY_STATUS: Mapping[int, type[AyniError]] = {
    401: TokenRefused,
    403: NotAllowed,
    404: NotFound,
    409: Conflict,
}


def from_problem(status: int, problem: Mapping[str, Any]) -> AyniError:
    """The exception for an error answer with its problem document."""
    kind = _BY_STATUS.get(status, HubFailed if status >= 500 else BadRequest)
    if status == 507 or problem.get("code") == "quota":
        kind = StoreFull
    words = [str(problem[k]).strip() for k in ("title", "detail") if problem.get(k)]
    message = ": ".join(words) or f"the hub answered {status}"
    if kind is TokenRefused:
        message += "; sign in again with a new token (`ayni login`)"
    if kind is HubFailed:
        message = f"the hub has a fault of its own ({status}): {message}"
    return kind(message, status=status, problem=problem)
