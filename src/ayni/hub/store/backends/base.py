"""What the hub needs of a store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

PUT_SECONDS = 3600  # for which a signed URL holds; whoever is slower asks again
GET_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class Block:
    """A block as it was declared: key `PROJECT/UPLOAD/N`, bytes, SHA-256 in hex."""

    key: str
    size: int
    sha256: str


class Backend(Protocol):
    """A store of blocks. Keys are `keys.block`, prefixes `keys.prefix`."""

    at_once: int  # questions worth asking in parallel; 1: they cost nothing

    def put_urls(self, blocks: Sequence[Block]) -> list[str]:
        """For each block a URL that takes one PUT of it."""

    def get_urls(self, keys: Sequence[str]) -> list[str]:
        """For each key a URL that takes GET, also of ranges."""

    def arrived(self, prefix: str) -> Mapping[int, int]:
        """Sizes of the blocks of an upload that were put, by number; not yet verified."""

    def verify(self, block: Block) -> bool:
        """Whether the block is what was declared; from then on no signed URL can change it.

        False: it is not there, or was not right and is removed.
        """

    def delete_prefix(self, prefix: str) -> None:
        """Remove all blocks of an upload."""

    def uploads(self, after: str, limit: int) -> tuple[list[str], str]:
        """Prefixes of uploads that the store holds, from where `after` says, about `limit`.

        Returns:
            The prefixes, and what to give as `after` next time ("" when at the end).
        """

    def clear_incoming(self) -> int:
        """Remove what interrupted transfers left behind; how many there were."""
