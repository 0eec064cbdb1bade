"""Signatures of channels' messages: a site's agent signs what its tasks say, and who reads may check it
without believing the hub. Ed25519 (RFC 8032), by the library `cryptography`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

SIZE = 64  # bytes of a signature
KEY = 32  # bytes of a key, private or public
#: Goes before all that is signed: no signature of ours is one of anything else.
_DOMAIN = b"ayni: a site's message on a channel, 1\n"


@dataclass(frozen=True, slots=True)
class Said:
    """All that a signature binds: what was said, and the one place where it was said.

    Attributes:
        number: counts the attempt's messages on this channel, from 1; no two messages share it.
        blob: the SHA-256 of the message's blob, if it has one.
    """

    project: str
    channel: str
    site: str
    task: str
    attempt: str
    number: int
    kind: str
    body: Mapping[str, Any]
    blob: str | None

    def signed_bytes(self) -> bytes:
        """As JSON in one form: sorted keys, no spaces, UTF-8; of the body, the SHA-256 of that form."""
        whole = {
            "project": self.project,
            "channel": self.channel,
            "site": self.site,
            "task": self.task,
            "attempt": self.attempt,
            "number": self.number,
            "kind": self.kind,
            "body": hashlib.sha256(_plain(self.body)).hexdigest(),
            "blob": self.blob,
        }
        return _DOMAIN + _plain(whole)


def _plain(value: Mapping[str, Any]) -> bytes:
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode()


class Signer:
    """A site's key. May be used by several threads."""

    def __init__(self, secret: str) -> None:
        """
        Args:
            secret: the private key's 32 bytes in hexadecimal, as `new_secret` makes them.

        Raises:
            ValueError: it is none.
        """
        data = bytes.fromhex(secret)
        if len(data) != KEY:
            raise ValueError(f"a key has {KEY} bytes, not {len(data)}")
        self._key = Ed25519PrivateKey.from_private_bytes(data)
        self.public = self._key.public_key().public_bytes_raw().hex()

    def sign(self, said: Said) -> str:
        """The signature in hexadecimal."""
        return self._key.sign(said.signed_bytes()).hex()


def new_secret() -> str:
    """A new private key's bytes in hexadecimal."""
    return Ed25519PrivateKey.generate().private_bytes_raw().hex()


def holds(said: Said, signature: str, public: str) -> bool:
    """Whether the holder of a key signed this. All are in hexadecimal; what is malformed does not hold."""
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(public))
        key.verify(bytes.fromhex(signature), said.signed_bytes())
    except (InvalidSignature, ValueError):
        return False
    return True
