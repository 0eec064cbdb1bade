"""Sending a webhook, to public addresses only: a user's URL must not reach into the hub's own network.

The name is resolved once, every address that it has must be public, and the connection goes to the one
that was checked. No redirects are followed, and what is answered is not passed on.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import ipaddress
import socket
import ssl
import urllib.request
from urllib.parse import urlsplit

TIMEOUT = 10.0  # seconds, for each step
SIGNATURE = "Ayni-Signature"


class WebhookError(Exception):
    """It was not delivered; the message says why, for the person who asked for it."""


def send(url: str, body: bytes, signature: str) -> None:
    """POST the body.

    Raises:
        WebhookError: the address is not public, cannot be reached, or did not answer with 2xx.
    """
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or 443
    address = public_address(host, port)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    headers = {
        "Host": host if port == 443 else f"{host}:{port}",
        "Content-Type": "application/json",
        "User-Agent": "ayni-hub",
        SIGNATURE: signature,
    }
    connection = _connection(host, address, port)
    try:
        connection.request("POST", target, body, headers)
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        raise WebhookError(f"{host} cannot be reached: {error}") from error
    finally:
        connection.close()
    if not 200 <= status < 300:
        raise WebhookError(f"{host} answered {status}")


def sign(key: str, body: bytes, at: int) -> str:
    """`t=…,v1=…`: HMAC-SHA-256 of the time, a dot and the body, so that an old one is not played again."""
    mac = hmac.new(key.encode(), f"{at}.".encode() + body, hashlib.sha256)
    return f"t={at},v1={mac.hexdigest()}"


def public_address(host: str, port: int) -> str:
    """The address to connect to.

    Raises:
        WebhookError: the name is not known, or one of its addresses is not public.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise WebhookError(f"{host} is not known: {error}") from error
    addresses = [str(entry[4][0]) for entry in found]
    for address in addresses:
        if not is_public(address):
            raise WebhookError(f"{host} is not a public address")
    return addresses[0]


_WRAPPED = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("64:ff9b:1::/48"))  # NAT64


def is_public(text: str) -> bool:
    """Whether an address is one of the public Internet; those that carry another are not."""
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(str(address.ipv4_mapped))
        if address.sixtofour or address.teredo or any(address in net for net in _WRAPPED):
            return False
    return address.is_global and not address.is_multicast and not address.is_reserved


class _Pinned(http.client.HTTPSConnection):
    """Connects to an address (or through a proxy to it) and asks the certificate of the name."""

    def __init__(self, name: str, host: str, port: int) -> None:
        self._tls = ssl.create_default_context()
        super().__init__(host, port, timeout=TIMEOUT, context=self._tls)
        self._name = name

    def connect(self) -> None:
        http.client.HTTPConnection.connect(self)
        self.sock = self._tls.wrap_socket(self.sock, server_hostname=self._name)


def _connection(name: str, address: str, port: int) -> _Pinned:
    proxy = urllib.request.getproxies().get("https")
    if not proxy or urllib.request.proxy_bypass(name):
        return _Pinned(name, address, port)
    parts = urlsplit(proxy if "//" in proxy else f"//{proxy}")
    connection = _Pinned(name, parts.hostname or "", parts.port or 3128)
    connection.set_tunnel(f"[{address}]" if ":" in address else address, port)
    return connection
