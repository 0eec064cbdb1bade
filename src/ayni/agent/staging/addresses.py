"""Which hosts and addresses an agent may talk to on a task's behalf.

A task's URL must not lead into the site's own network. A name is resolved once, every address that
it has is judged, and the connection goes to an address that was judged: there is no second look-up
in which the answer could change.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from ipaddress import IPv4Address, IPv6Address, IPv6Network

import httpcore

from ayni.agent.staging.errors import StagingError

Address = IPv4Address | IPv6Address
Resolve = Callable[[str, int], Sequence[str]]

CODE = "https"
_LOCAL = ("localhost", "local", "internal", "localdomain", "home", "lan")
_EMBEDDING = (
    (IPv6Network("64:ff9b::/96"), 0),  # NAT64 (RFC 6052): the last 32 bits
    (IPv6Network("2002::/16"), 80),  # 6to4 (RFC 3056): the 32 bits after the prefix
    (IPv6Network("::ffff:0:0/96"), 0),  # IPv4-mapped
)
_NEVER = tuple(
    IPv6Network(text)
    for text in (
        "::/96",  # IPv4-compatible, deprecated
        "::ffff:0:0:0/96",  # IPv4-translated (RFC 2765)
        "64:ff9b:1::/48",  # a network's own NAT64 (RFC 8215)
        "fec0::/10",  # site-local, deprecated
        "5f00::/16",  # segment routing (RFC 9602)
        "3fff::/20",  # documentation (RFC 9637)
    )
)


@dataclass(frozen=True, slots=True)
class Rules:
    """What the operator allows.

    Attributes:
        hosts: names or patterns (`*.example.org`) of `Policy.https_from`; none means no host at all.
        private: hosts of the site's own network, with or without `:port`, that tasks may reach
            after all (its S3 server, say).
        http: whether `http://` is allowed everywhere; to `private` hosts it always is.
    """

    hosts: tuple[str, ...] = ()
    private: tuple[str, ...] = ()
    http: bool = False

    def is_private(self, host: str, port: int) -> bool:
        """Whether the operator opened this host although it is inside."""
        plain = _plain(host)
        return _matches(plain, self.private) or _matches(f"{plain}:{port}", self.private)

    def allows_http(self, host: str, port: int) -> bool:
        return self.http or self.is_private(host, port)

    def check_host(self, host: str, port: int) -> None:
        """Judge a host by its name alone.

        Raises:
            StagingError: it is not on the list, or names a place that no name on it should.
        """
        plain = _plain(host)
        if self.is_private(host, port):
            return
        if not _matches(plain, self.hosts):
            raise StagingError(CODE, f"this site exchanges nothing with {plain[:100]}")
        literal = literal_address(plain)
        if literal is not None and not is_public(ipaddress.ip_address(literal)):
            raise StagingError(CODE, f"{plain[:100]} is no public address")
        if plain.split(".")[-1] in _LOCAL:
            raise StagingError(CODE, f"{plain[:100]} names a place inside a network")

    def check_addresses(self, host: str, port: int, addresses: Sequence[str]) -> None:
        """Judge what a host resolved to; one bad address condemns all.

        A name with public and private answers is how rebinding looks, so it is not picked over.

        Raises:
            StagingError: there is an address that is not on the open Internet.
        """
        if self.is_private(host, port):
            return
        if not all(is_public(ipaddress.ip_address(address)) for address in addresses):
            raise StagingError(CODE, f"{host[:100]} does not lead to a public address")


def _plain(host: str) -> str:
    return host.rstrip(".").lower()


def _matches(text: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(text, pattern.lower()) for pattern in patterns)


def is_public(address: Address) -> bool:
    """Whether an address, and any that it wraps, is one machine's on the open Internet."""
    if isinstance(address, IPv6Address):
        for network, shift in _EMBEDDING:
            if address in network:
                return is_public(IPv4Address((int(address) >> shift) & 0xFFFFFFFF))
        if address.is_site_local or any(address in network for network in _NEVER):
            return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def literal_address(host: str) -> str | None:
    """The address that a host writes out, in any spelling that C libraries take (`2130706433`, `0x7f.1`)."""
    try:
        return str(ipaddress.ip_address(host.strip("[]")))
    except ValueError:
        pass
    if not re.fullmatch(r"[0-9a-fx.]+", host):  # inet_aton passes over what follows a blank
        return None
    try:
        return str(IPv4Address(socket.inet_aton(host)))
    except OSError:
        return None


def look_up(host: str, port: int) -> list[str]:
    """Ask the system's resolver, once."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class Pinned(httpcore.NetworkBackend):
    """Connects to judged addresses only. TLS still checks the certificate against the name."""

    def __init__(self, rules: Rules, resolve: Resolve = look_up) -> None:
        self._rules = rules
        self._resolve = resolve
        self._plain = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        failed: Exception = httpcore.ConnectError(f"{host} has no address")
        for address in self._judged(host, port):
            try:
                return self._plain.connect_tcp(
                    address, port, timeout, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failed = error
        raise failed

    def _judged(self, host: str, port: int) -> Sequence[str]:
        try:
            addresses = self._resolve(host, port)
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(f"{host} cannot be resolved") from error
        self._rules.check_addresses(host, port, addresses)
        return addresses

    def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        raise StagingError(CODE, "no sockets of this machine")
