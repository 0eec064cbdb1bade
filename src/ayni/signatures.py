"""Signatures of channels' messages: a site's agent signs what its tasks say, a person what is wished of a
run, and who reads may check it without believing the hub. Ed25519 (RFC 8032), by the library `cryptography`.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from ayni.errors import UserError

SIZE = 64  # bytes of a signature
KEY = 32  # bytes of a key, private or public
#: Go before all that is signed: no signature of ours is one of anything else.
_SITE = b"ayni: a site's message on a channel, 1\n"
_PERSON = b"ayni: a person's wish of a training run, 1\n"


class Signed(Protocol):
    """What a signature binds."""

    def signed_bytes(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Said:
    """All that a site's signature binds: what was said, and the one place where it was said.

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
        return _SITE + _plain(whole)


@dataclass(frozen=True, slots=True)
class Wished:
    """All that a person's signature binds: what is wished, of which run, and when.

    Attributes:
        channel: the run's, of people.
        at: microseconds since 1970. The clock is a counter that no machine has to remember: a wish that
            is no newer than the last one heard is none.
    """

    project: str
    channel: str
    at: int
    kind: str
    body: Mapping[str, Any]

    def signed_bytes(self) -> bytes:
        """As JSON in one form: sorted keys, no spaces, UTF-8."""
        whole = {
            "project": self.project,
            "channel": self.channel,
            "at": self.at,
            "kind": self.kind,
            "body": self.body,
        }
        return _PERSON + _plain(whole)


def _plain(value: Mapping[str, Any]) -> bytes:
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode()


class Signer:
    """A site's key, or a person's. May be used by several threads."""

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

    def sign(self, said: Signed) -> str:
        """The signature in hexadecimal."""
        return self._key.sign(said.signed_bytes()).hex()


def new_secret() -> str:
    """A new private key's bytes in hexadecimal."""
    return Ed25519PrivateKey.generate().private_bytes_raw().hex()


def holds(said: Signed, signature: str, public: str) -> bool:
    """Whether the holder of a key signed this. All are in hexadecimal; what is malformed does not hold."""
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(public))
        key.verify(bytes.fromhex(signature), said.signed_bytes())
    except (InvalidSignature, ValueError):
        return False
    return True


# --- the files that keep keys -----------------------------------------------------------------


def signer_at(path: Path, remedy: str) -> Signer:
    """What signs with the key in a file; it is made when it is wanted for the first time.

    Args:
        remedy: what to do where the key is lost, for the error.

    Raises:
        UserError: the key is damaged, cannot be kept, or others may read it.
    """
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_secret(path, new_secret())
        if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise UserError(f"others may read the signing key: chmod 600 {path}")
        return Signer(path.read_text().strip())
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be used ({error}): mend it, or {remedy}") from error


def write_secret(path: Path, text: str) -> None:
    """Write a line durably, whole or not at all, readable by this user only.

    Raises:
        OSError: it cannot be written.
    """
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "w") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
