"""The agent's telephone: HTTP to the hub, by the proxy and the authorities that the site uses."""

from __future__ import annotations

import gzip
from typing import Any

import httpx
from pydantic import ValidationError

from ayni import __version__
from ayni.agent.config import Config
from ayni.errors import UserError
from ayni.protocol.messages import SyncReply, SyncRequest
from ayni.transfer.errors import TransferError
from ayni.transfer.http import trust

_COMPRESS = 64 << 10  # bytes; beyond, a body is sent by gzip


class HubError(Exception):
    """The hub could not be asked, or said no.

    Attributes:
        status: the HTTP status; 0 if there was no answer.
        fence: which fence, where the hub no longer listens to this process (409).
        code: the hub's own code of the problem, if it gave one.
    """

    def __init__(self, message: str, status: int = 0, fence: str = "", code: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.fence = fence
        self.code = code


def client(config: Config, key: str | None) -> httpx.Client:
    """A client for the hub. HTTPS_PROXY and NO_PROXY are honoured.

    Raises:
        UserError: the private authority's file cannot be used.
    """
    try:
        verify = trust(config.https.ca_file)
    except TransferError as error:
        raise UserError(f"https.ca_file: {error}") from error
    headers = {"User-Agent": f"ayni-agent/{__version__}"}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    return httpx.Client(
        base_url=config.hub,
        headers=headers,
        verify=verify,
        timeout=httpx.Timeout(config.https.timeout),
        follow_redirects=False,
    )


class Hub:
    """What the agent asks of the hub. May be used by several threads."""

    def __init__(self, http: httpx.Client, timeout: float) -> None:
        self._http = http
        self._timeout = timeout

    def sync(self, request: SyncRequest) -> SyncReply:
        """One exchange; the hub may hold it for `request.wait` seconds.

        Raises:
            HubError: no answer, or none that can be used.
        """
        body = request.model_dump_json(exclude_none=True)
        response = self.post("/agent/v1/sync", body, wait=request.wait)
        try:
            return SyncReply.model_validate_json(response.content)
        except ValidationError as error:
            raise HubError(f"the hub's answer cannot be understood: {_first(error)}") from error

    def register(self, code: str, info: dict[str, Any]) -> dict[str, Any]:
        """Trade a one-time code for the site's key.

        Raises:
            HubError: the hub cannot be reached, or the code is not good.
        """
        response = self._ask("POST", "/agent/v1/register", json={"code": code, **info})
        found = _json(response)
        if not isinstance(found, dict) or not {"site", "token"} <= found.keys():
            raise HubError("the answer is not that of a hub; is the address right?")
        return found

    def post(self, path: str, body: str, wait: float = 0.0, *, pack: bool = True) -> httpx.Response:
        """Post JSON text.

        Args:
            wait: seconds that the hub may hold it.
            pack: whether a large body goes by gzip, which not every endpoint takes.

        Raises:
            HubError: no answer, or a problem.
        """
        content, headers = body.encode(), {"Content-Type": "application/json"}
        if pack and len(content) > _COMPRESS:
            content, headers["Content-Encoding"] = gzip.compress(content, 3), "gzip"
        return self._ask(
            "POST",
            path,
            content=content,
            headers=headers,
            timeout=httpx.Timeout(self._timeout, read=self._timeout + wait),
        )

    def _ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        try:
            response = self._http.request(method, path, **more)
        except httpx.HTTPError as error:
            raise HubError(f"the hub cannot be reached: {plain(error)}") from error
        if response.is_success:
            return response
        raise problem(response)


def problem(response: httpx.Response) -> HubError:
    """An answer that is none, as an error: the hub's own words where it gave a problem document."""
    found = _json(response)
    words = found if isinstance(found, dict) else {}
    said = str(words.get("detail") or words.get("title") or response.reason_phrase)
    return HubError(
        f"the hub answered {response.status_code}: {said[:500]}",
        response.status_code,
        fence=str(words.get("fence") or ""),
        code=str(words.get("code") or ""),
    )


def plain(error: httpx.HTTPError) -> str:
    """A failure of HTTP in words, with the cause that matters."""
    if isinstance(error, httpx.TimeoutException):
        return "no answer in time"
    text = str(error) or type(error).__name__
    return text.replace("\n", " ")


def _json(response: httpx.Response) -> Any:
    try:
        return response.json()
    except ValueError:
        return None


def _first(error: ValidationError) -> str:
    fault = error.errors()[0]
    return f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}"
