"""The network from Python: `from ayni.client import Network`. The CLI's commands stand on it."""

from ayni.client.errors import (
    AyniError,
    BadRequest,
    Conflict,
    HubFailed,
    HubUnreachable,
    InvalidTask,
    NotAHub,
    NotAllowed,
    NotFound,
    NotSignedIn,
    StoreFull,
    TaskFailed,
    TokenRefused,
    TransferFailed,
    WaitTimeout,
)
from ayni.client.handles import ArrayHandle, TaskHandle
from ayni.client.network import Network

__all__ = [
    "ArrayHandle",
    "AyniError",
    "BadRequest",
    "Conflict",
    "HubFailed",
    "HubUnreachable",
    "InvalidTask",
    "Network",
    "NotAHub",
    "NotAllowed",
    "NotFound",
    "NotSignedIn",
    "StoreFull",
    "TaskFailed",
    "TaskHandle",
    "TokenRefused",
    "TransferFailed",
    "WaitTimeout",
]
