"""Moving bytes between a disk and the store: the client's side, for agents and for people's programs.

A file is a manifest of hashed blocks. Sending: hash (`describe`), declare it to the hub, PUT the blocks
that it misses to signed URLs, declare again until it is `ready`. Fetching: GET the blocks in parallel into
a `.part` file beside the target, verify, rename. Both may be stopped at any instant and resumed.

This package talks to no hub itself: whoever uses it says how to declare (`ask`) and how to get fresh
URLs (`refresh`). `project` does so for a person's token.
"""

from ayni.transfer.blocks import BLOCK_SIZE, Described, describe
from ayni.transfer.errors import Stopped, TransferError
from ayni.transfer.fetch import Incoming
from ayni.transfer.http import client
from ayni.transfer.mover import Mover
from ayni.transfer.send import Outgoing
from ayni.transfer.wire import Answer, Manifest

__all__ = [
    "BLOCK_SIZE",
    "Answer",
    "Described",
    "Incoming",
    "Manifest",
    "Mover",
    "Outgoing",
    "Stopped",
    "TransferError",
    "client",
    "describe",
]
