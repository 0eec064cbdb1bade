"""What goes wrong in staging, in words for the task's owner."""

from __future__ import annotations

from ayni.protocol.attempts import AttemptState
from ayni.protocol.policy import Reason


class StagingError(Exception):
    """An attempt cannot be staged, or its outputs cannot be kept.

    Attributes:
        code: for programs, as in `protocol.policy.Reason`.
        message: plain words that name the field and the remedy; they hold no secrets.
        retryable: whether another try, here or elsewhere, may end well.
        state: how the attempt ends: EXECUTOR_ERROR where the commands broke a promise (an output
            that they did not make), else SYSTEM_ERROR.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        retryable: bool = False,
        state: AttemptState = AttemptState.SYSTEM_ERROR,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retryable = retryable
        self.state = state

    def about(self, field: str) -> StagingError:
        """The same error, with the field of the task that it is about in front."""
        return StagingError(
            self.code, f"{field}: {self.message}", retryable=self.retryable, state=self.state
        )

    @property
    def reason(self) -> Reason:
        """For the attempt's report; the hub tries again only where `retryable` is true."""
        return Reason(
            code=self.code, message=self.message, parameters={"retryable": self.retryable}
        )


class Waits(StagingError):
    """It must wait, for as long as it takes; to be looked at again after so many seconds."""

    def __init__(self, code: str, message: str, seconds: float) -> None:
        super().__init__(code, message, retryable=True)
        self.seconds = seconds


def broken_promise(code: str, message: str) -> StagingError:
    """The commands ended well and yet did not do what the task says."""
    return StagingError(code, message, state=AttemptState.EXECUTOR_ERROR)
