"""What the parts of the machine share: the state in hand, and what goes to the books."""

from __future__ import annotations

from dataclasses import dataclass, field

from ayni.lm.outer.messages import Record
from ayni.lm.outer.state import GIFT, Gift, Lane, State, moved

Value = str | int | float | bool | None


@dataclass
class Desk:
    """One tick's work."""

    state: State
    records: list[Record] = field(default_factory=list)

    def note(self, what: str, key: str, **data: Value) -> None:
        """Put something into the books, once for each key."""
        record = Record(key=f"{what}/{key}", what=what, at=self.state.now, data=data)
        self.records.append(record)

    def refuse(self, gift: Gift, event: str, reason: str) -> None:
        """A contribution is not taken, and the books say why."""
        gift.state, gift.reason = moved(GIFT, gift.state, event), reason
        self.refused(gift.fragment, gift.key, gift.site, gift.tokens, gift.size, reason)

    def refused(
        self, fragment: str, key: str, site: str, tokens: int, size: int, reason: str
    ) -> None:
        self.note(
            "refused",
            f"{fragment}/{key}",
            fragment=fragment,
            site=site,
            tokens=tokens,
            bytes=size,
            reason=reason,
        )

    def alarm(self, key: str, lane: Lane | None, text: str) -> None:
        """Something that a person should see."""
        self.note("alarm", key, fragment=lane.fragment if lane else None, text=text)
