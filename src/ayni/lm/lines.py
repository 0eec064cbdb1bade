"""A run's channels, seen from outside the sites."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ayni.client.channels import ChannelMessage
from ayni.lm.steering import Steering


class Line(Protocol):
    """A channel from outside, as `ayni.client.channels.Channel` has it."""

    def messages(self, after: int = 0) -> Iterator[ChannelMessage]: ...

    def receive(self, after: int = 0, timeout: float | None = None) -> Iterator[ChannelMessage]: ...

    def send(
        self, kind: str, body: Mapping[str, Any] | None = None, blob: Path | None = None
    ) -> int: ...

    def fetch(self, message: ChannelMessage, target: Path) -> Path: ...

    def held(self) -> Mapping[str, int]: ...

    def drop(self, sha256: str) -> None: ...


@dataclass(frozen=True)
class Lines:
    """A run's channels: from the sites, to them, and from people.

    `check` raises ValueError for what a site is said to have sent and has not signed; `steering` knows
    whose wishes are heard.
    """

    up: Line
    down: Line
    wishes: Line
    check: Callable[[ChannelMessage], None]
    steering: Steering
