"""HTTP towards the hub: retries, idempotency, and errors as exceptions.

A create carries an `Idempotency-Key`, so that it may be sent again after a lost answer without being
done twice; reads and deletes may be repeated anyway. `HTTPS_PROXY`, `NO_PROXY`, `SSL_CERT_FILE` and
`AYNI_CA_FILE` (one more file of certificates) are honoured. Redirects are not followed: the token
goes to the hub that was named and nowhere else.
"""

from __future__ import annotations

import os
import platform
import random
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx

from ayni import __version__
from ayni.client.credentials import Credentials
from ayni.client.errors import AyniError, HubUnreachable, NotAHub, from_problem
from ayni.transfer import Mover
from ayni.transfer.http import trust

USER_AGENT = f"ayni/{__version__} python/{platform.python_version()}"
PATIENCE = 8.0  # seconds that a passing failure is tried again
LONG_PATIENCE = 600.0  # likewise, for whoever waits for a task anyway
MAX_WAIT = 25.0  # seconds that the hub holds a question open
_PASSING = frozenset({429, 502, 503, 504})
_API = "/api/v1"


class Connection:
    """One hub and one token."""

    def __init__(
        self,
        credentials: Credentials,
        *,
        http_transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.hub = credentials.hub
        self._sleep = sleep
        self._transport = http_transport
        self.client = httpx.Client(
            base_url=self.hub + _API,
            headers={
                "Authorization": f"Bearer {credentials.token}",
                "User-Agent": USER_AGENT,
                "Accept": "application/json, application/problem+json",
            },
            timeout=httpx.Timeout(30.0, connect=10.0),
            verify=trust(ca_file()) if http_transport is None else True,
            transport=http_transport,
        )

    def close(self) -> None:
        self.client.close()

    def mover(self) -> Mover:
        """What moves blocks to and from the store. It carries no token."""
        if self._transport is None:
            return Mover(ca=ca_file())
        return Mover(httpx.Client(transport=self._transport))

    def get(
        self, path: str, /, *, wait: float = 0.0, patience: float | None = None, **query: Any
    ) -> dict[str, Any]:
        """A JSON answer. `wait`: seconds for which the hub may hold the question open."""
        if wait:
            query["wait"] = round(min(wait, MAX_WAIT), 2)
        return self._ask("GET", path, query=query, patience=patience, read_timeout=30.0 + wait)

    def post(
        self, path: str, body: Mapping[str, Any] | None = None, *, patience: float | None = None
    ) -> dict[str, Any]:
        """Something that may be said twice without harm, or asks only."""
        return self._ask("POST", path, body=body or {}, patience=patience)

    def create(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Something new, made once however often the answer is lost."""
        headers = {"Idempotency-Key": uuid4().hex}
        return self._ask("POST", path, body=body, headers=headers, read_timeout=120.0)

    def delete(self, path: str, /, **query: Any) -> dict[str, Any]:
        return self._ask("DELETE", path, query=query)

    def _ask(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        patience: float | None = None,
        read_timeout: float = 30.0,
    ) -> dict[str, Any]:
        request = self.client.build_request(
            method,
            self.hub + path if path.startswith("/ga4gh/") else path,
            params=_query(query or {}),
            json=body,
            headers=headers,
            timeout=httpx.Timeout(read_timeout, connect=10.0),
        )
        return self._understand(self._patiently(request, patience))

    def _patiently(self, request: httpx.Request, patience: float | None) -> httpx.Response:
        """The answer; passing failures are tried again for `patience` seconds, or PATIENCE."""
        patience = PATIENCE if patience is None else patience
        started, pause = time.monotonic(), 0.25
        while True:
            try:
                response = self.client.send(request)
                if response.status_code not in _PASSING:
                    return response
                failure: AyniError = _error(response)
                pause = max(pause, _retry_after(response))
            except httpx.TransportError as error:
                failure = HubUnreachable(f"the hub {self.hub} does not answer: {_reason(error)}")
                failure.__cause__ = error
            except httpx.InvalidURL as error:
                raise NotAHub(f"{self.hub} is no hub's address: {error}") from error
            pause *= random.uniform(0.8, 1.2)  # noqa: S311 - many clients must not come back at once
            if time.monotonic() - started + pause > patience:
                raise failure
            self._sleep(pause)
            pause = min(pause * 2, 15.0)

    def _understand(self, response: httpx.Response) -> dict[str, Any]:
        if response.is_redirect:
            to = response.headers.get("location", "elsewhere")
            raise NotAHub(f"{self.hub} points to {to}; use that address, if you trust it")
        if response.is_error:
            raise self._not_a_hub(response) or _error(response)
        if not response.content:
            return {}
        data = _json(response)
        if not isinstance(data, dict):
            raise NotAHub(f"{self.hub} answers, but not as an Ayni hub does; check the address")
        return data

    def _not_a_hub(self, response: httpx.Response) -> NotAHub | None:
        if response.status_code in (404, 405) and not isinstance(_json(response), dict):
            return NotAHub(f"{self.hub} answers, but there is no Ayni hub there; check the address")
        return None


def ca_file() -> Path | None:
    """One more file of certificates to trust, beside the system's and those of SSL_CERT_FILE."""
    return Path(value) if (value := os.environ.get("AYNI_CA_FILE")) else None


def _query(query: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in query.items() if value is not None}


def _json(response: httpx.Response) -> Any:
    try:
        return response.json()
    except ValueError:
        return None


def _error(response: httpx.Response) -> AyniError:
    document = _json(response)
    return from_problem(response.status_code, document if isinstance(document, dict) else {})


def _retry_after(response: httpx.Response) -> float:
    text = response.headers.get("retry-after", "")
    return min(float(text), 60.0) if text.isascii() and text.isdigit() else 0.0


def _reason(error: httpx.TransportError) -> str:
    if isinstance(error, httpx.TimeoutException):
        return "it takes too long; check the address, the network and the proxy"
    text = str(error) or type(error).__name__
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return f"its certificate is not trusted here ({text}); set AYNI_CA_FILE to your authority's"
    return f"{text}; check the address, the network and the proxy"
