"""The way to the hub: proxy, authorities, clock, key."""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import httpx

from ayni.agent import hub, identity
from ayni.agent.config import Config
from ayni.agent.doctor.base import Check, Checker, fail, ok, warn
from ayni.errors import UserError

_SKEW_WARN = 5.0  # seconds
_SKEW_FAIL = 120.0


def proxy_of(address: str) -> str | None:
    """The proxy that requests to an address go by, without its password."""
    parts = urlsplit(address)
    proxies = urllib.request.getproxies()
    if urllib.request.proxy_bypass(parts.hostname or ""):
        return None
    found = proxies.get(parts.scheme) or proxies.get("all")
    return urlsplit(found)._replace(netloc=_host(found)).geturl() if found else None


def _host(address: str) -> str:
    return urlsplit(address).netloc.rpartition("@")[2]


def way(config: Config) -> Iterator[Check]:
    """Is the hub there, and is its clock ours?"""
    proxy = proxy_of(config.hub)
    by = f" by proxy {proxy}" if proxy else ""
    try:
        http = hub.client(config, None)
    except UserError as error:
        yield fail("authorities", str(error), "give the PEM file of your certificate authority")
        return
    with http:
        try:
            sent = time.time()
            response = http.get("/ga4gh/tes/v1/service-info", timeout=10)
            taken = time.time() - sent
        except httpx.HTTPError as error:
            yield fail(
                "hub",
                f"{config.hub} cannot be reached{by}: {hub.plain(error)}",
                _remedy(error, proxy),
            )
            return
    if not response.is_success:
        yield fail(
            "hub",
            f"{config.hub} answered {response.status_code}{by}: it is no hub, or not well",
            "check the address in 'hub'; if a proxy answers, add the hub to NO_PROXY or allow it there",
        )
        return
    yield ok("hub", f"{config.hub} answered in {taken * 1000:.0f} ms{by}")
    if urlsplit(config.hub).scheme == "http" and not _is_here(config.hub):
        yield warn(
            "https", "the site's key travels unencrypted", "use an https:// address for the hub"
        )
    yield from _clock(response, sent, taken)


def _is_here(address: str) -> bool:
    return (urlsplit(address).hostname or "") in ("127.0.0.1", "localhost", "::1")


def _clock(response: httpx.Response, sent: float, taken: float) -> Iterator[Check]:
    try:
        theirs = parsedate_to_datetime(response.headers["Date"]).timestamp()
    except (KeyError, ValueError):
        yield warn("clock", "the hub did not say what time it is", "compare the clocks yourself")
        return
    skew = (sent + taken / 2) - (theirs + 0.5)
    words = f"{abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} the hub's"
    remedy = "let chronyd or systemd-timesyncd keep this machine's time"
    if abs(skew) > _SKEW_FAIL:
        yield fail(
            "clock", f"this machine's clock is {words}: signed addresses will not work", remedy
        )
    elif abs(skew) > _SKEW_WARN:
        yield warn("clock", f"this machine's clock is {words}", remedy)
    else:
        yield ok("clock", "agrees with the hub's")


def _remedy(error: httpx.HTTPError, proxy: str | None) -> str:
    text = str(error).lower()
    if "certificate" in text or "ssl" in text:
        return (
            "if your network opens TLS or the hub has a private authority, name its PEM file in "
            "https.ca_file; do not switch verification off"
        )
    if proxy or isinstance(error, httpx.ProxyError):
        return "check HTTPS_PROXY, and that the proxy lets CONNECT through to the hub's port"
    return (
        "check the address in 'hub', the name service and the firewall (only outbound HTTPS is needed); "
        "behind a proxy set HTTPS_PROXY, also in the systemd unit"
    )


def key(config: Config) -> Iterator[Check]:
    """Does the hub take our key?"""
    try:
        who = identity.load(config)
    except UserError as error:
        yield fail("key", str(error), "ask the hub's operator for a code")
        return
    with hub.client(config, who.key) as http:
        try:
            hub.Hub(http, 10).post("/agent/v1/inputs", '{"requests": []}')
        except hub.HubError as error:
            yield from _key_fault(who.site, error)
            return
    yield ok("key", f"the hub knows this site as {who.site}")


def _key_fault(site: str, error: hub.HubError) -> Iterator[Check]:
    if error.status == 401:
        yield fail("key", str(error), "register again with a new code: ayni site register")
    elif error.status == 403:
        yield fail("key", str(error), f"ask the hub's operator why {site} may not take part")
    elif error.status:
        yield warn("key", f"could not be tried: {error}", "try again; see the hub's version")
    # No answer at all: `way` has said so already.


CHECKS: tuple[Checker, ...] = (way, key)
