"""One channel of one attempt at its site: what the task says goes out, what others say comes in."""

from __future__ import annotations

from dataclasses import dataclass, field

from ayni.agent.channels.inbox import Inbox
from ayni.agent.channels.outbox import Outbox
from ayni.agent.channels.spot import Spot


@dataclass(slots=True)
class Desk:
    """Both directions of one spot."""

    spot: Spot
    outbox: Outbox = field(init=False)
    inbox: Inbox = field(init=False)

    def __post_init__(self) -> None:
        self.outbox = Outbox(self.spot)
        self.inbox = Inbox(self.spot)
