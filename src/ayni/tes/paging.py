"""Page tokens: where the next page begins, opaque and signed, bound to the question asked."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json

_SIGNATURE = 16  # bytes
MAX_TOKEN = 4096


class TokenError(ValueError):
    """A page token that this hub did not make for this question."""


def encode(secret: bytes, question: str, position: list[str | int]) -> str:
    """A token for the page after `position`, the sort key of the last row shown."""
    body = json.dumps(position, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(_sign(secret, question, body) + body).decode().rstrip("=")


def decode(secret: bytes, question: str, token: str) -> list[str | int]:
    """The position in a token.

    Raises:
        TokenError: it was altered, or made by another hub or for another question.
    """
    try:
        if len(token) > MAX_TOKEN:
            raise ValueError
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise TokenError("is no page token; begin without one") from None
    signature, body = raw[:_SIGNATURE], raw[_SIGNATURE:]
    if not hmac.compare_digest(signature, _sign(secret, question, body)):
        raise TokenError("is not of this listing; begin without one")
    position: list[str | int] = json.loads(body)
    return position


def _sign(secret: bytes, question: str, body: bytes) -> bytes:
    return hmac.digest(secret, question.encode() + b"\0" + body, hashlib.sha256)[:_SIGNATURE]
