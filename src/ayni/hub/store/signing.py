"""Signed URLs of the folder store. No Django here: the file server checks what the hub signs.

The signature (HMAC-SHA256) binds method, key, size, hash and expiry, so whoever holds a URL can do
that one thing: put exactly those bytes at that key, or read that block.
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from urllib.parse import urlencode


class BadSignature(Exception):
    """Not signed by the hub, or altered."""


class Expired(Exception):
    """Signed, but too long ago."""


def _signature(secret: bytes, method: str, key: str, size: str, sha256: str, until: str) -> str:
    message = "\n".join(("ayni-store-1", method, key, size, sha256, until))
    digest = hmac.new(secret, message.encode(), hashlib.sha256).digest()
    return urlsafe_b64encode(digest).rstrip(b"=").decode()


def put_query(secret: bytes, key: str, size: int, sha256: str, until: int) -> str:
    """The query of a URL that takes one PUT; `until` in Unix seconds."""
    signature = _signature(secret, "PUT", key, str(size), sha256, str(until))
    return urlencode({"size": size, "sha256": sha256, "until": until, "signature": signature})


def get_query(secret: bytes, key: str, until: int) -> str:
    """The query of a URL that takes GET and HEAD."""
    signature = _signature(secret, "GET", key, "", "", str(until))
    return urlencode({"until": until, "signature": signature})


def check(secret: bytes, method: str, key: str, query: Mapping[str, str], now: float) -> None:
    """Nothing if the hub signed this; compares in constant time, whatever is wrong.

    Raises:
        BadSignature, Expired
    """
    until = query.get("until", "")
    right = _signature(secret, method, key, query.get("size", ""), query.get("sha256", ""), until)
    given = query.get("signature", "")
    if not hmac.compare_digest(given.encode("utf-8", "replace"), right.encode()):
        raise BadSignature
    if int(until) <= now:
        raise Expired
