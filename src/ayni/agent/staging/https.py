"""Fetching and sending by https on a task's behalf, with no way into the site's network.

Without a proxy, the addresses are judged here (`addresses.Pinned`), at the first request and again
at every redirect. Through `HTTPS_PROXY` the proxy resolves the name of a CONNECT, so which addresses
it leads to is the proxy's to judge; names on the list and written-out addresses are judged here still.

URLs may carry secrets (presigned ones do): no query string is ever put in a message, and a URL is
sent nothing but itself: no cookies, no credentials, no referrer.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import BinaryIO
from urllib.request import getproxies, proxy_bypass

import httpcore
import httpx

from ayni.agent.staging.addresses import CODE, Pinned, Resolve, Rules, look_up
from ayni.agent.staging.errors import StagingError

MAX_REDIRECTS = 5
MAX_URL = 4096
CHUNK = 1 << 20
TRIES = 4
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_WAIT = {"connect": 15.0, "read": 60.0, "write": 60.0, "pool": 60.0}
_PROBLEMS = (
    httpcore.NetworkError,
    httpcore.TimeoutException,
    httpcore.ProtocolError,
    httpcore.ProxyError,
)
_PATIENCE = 6 * 3600.0  # seconds for one file, all tries together
_BEGINNING = {"user-agent": "ayni-agent", "accept": "*/*", "accept-encoding": "identity"}

Stop = Callable[[], bool]


def _never() -> bool:
    return False


def shown(url: str) -> str:
    """A URL as it may be shown: without query, fragment, user and password, and not too long."""
    beginning = url.partition("#")[0].partition("?")[0]
    scheme, mark, rest = beginning.partition("://")
    host, slash, path = rest.partition("/")
    text = f"{scheme}{mark}{host.rpartition('@')[2]}{slash}{path}"
    return text if len(text) <= 200 else text[:197] + "..."


@dataclass(slots=True)
class _Progress:
    """How far a download has come; `tag` says which version of the file it is of."""

    file: BinaryIO
    done: int = 0
    tag: str = ""

    def restart(self) -> None:
        self.file.seek(0)
        self.file.truncate(0)
        self.done, self.tag = 0, ""


@dataclass(slots=True)
class Web:
    """The open Internet, as far as the operator allows it. May be used by many threads."""

    rules: Rules
    resolve: Resolve = look_up
    tls: ssl.SSLContext | None = None  # None: SSL_CERT_FILE, SSL_CERT_DIR or the usual roots
    pause: float = 1.0  # seconds before the second try, doubled at each
    _pools: dict[str, httpcore.ConnectionPool] = field(default_factory=dict)

    def close(self) -> None:
        for pool in self._pools.values():
            pool.close()
        self._pools.clear()

    def check(self, url: str) -> None:
        """Judge a URL by itself, before anything is done for it.

        Raises:
            StagingError: it is no URL, or its host is not on the site's list.
        """
        self._checked(url)

    def get(self, url: str, file: BinaryIO, *, limit: int, stop: Stop = _never) -> int:
        """Fetch a file, going on after a break where the server knows ranges.

        Args:
            url: `https://…`, or `http://…` if the rules allow it.
            file: an empty file, open for writing.
            limit: the most bytes to take.
            stop: asked now and then; true ends the fetch with an error.

        Returns:
            Its size.

        Raises:
            StagingError: refused by the rules, by the server, too large, or out of tries.
        """
        progress = _Progress(file)
        end = time.monotonic() + _PATIENCE

        def stopped() -> bool:
            return stop() or time.monotonic() > end

        self._persist(url, lambda: self._get_once(url, progress, limit, stopped), stopped)
        return progress.done

    def put(
        self, url: str, open_file: Callable[[], BinaryIO], size: int, stop: Stop = _never
    ) -> None:
        """Send a file by one PUT. It may arrive more than once, since an answer may get lost.

        Args:
            open_file: opens it at its beginning, once to a try.
            size: its bytes, as sent in Content-Length (S3 wants it).

        Raises:
            StagingError: refused by the rules or the server, or out of tries.
        """

        def once() -> None:
            with self._request(
                "PUT", url, {"content-length": str(size)}, open_file, stop
            ) as answer:
                if not 200 <= answer.status < 300:
                    raise _refused(url, answer.status)

        self._persist(url, once, stop)

    def _persist(self, url: str, once: Callable[[], None], stop: Stop) -> None:
        """Try, and try again after what may pass."""
        for number in range(TRIES):
            try:
                return once()
            except _PROBLEMS as error:
                failed = StagingError(CODE, f"{shown(url)}: {_words(error)}", retryable=True)
            except StagingError as error:
                if not error.retryable:
                    raise
                failed = error
            if stop() or number == TRIES - 1:
                raise failed
            time.sleep(self.pause * 2**number)
        raise AssertionError("the loop ends by itself")

    def _get_once(self, url: str, progress: _Progress, limit: int, stop: Stop) -> None:
        headers = {}
        if progress.done and progress.tag:
            headers = {"range": f"bytes={progress.done}-", "if-range": progress.tag}
        else:
            progress.restart()
        with self._request("GET", url, headers, None, stop) as answer:
            if answer.status == 200:
                progress.restart()
            elif answer.status != 206 or not _continues(answer, progress.done):
                progress.restart()
                raise _refused(url, answer.status)
            progress.tag = _strong_tag(answer)
            announced = _announced(answer)
            expected = None if announced is None else progress.done + announced
            if expected is not None and expected > limit:
                raise _too_large(url, limit)
            for chunk in answer.iter_stream():
                if progress.done + len(chunk) > limit:
                    raise _too_large(url, limit)
                progress.file.write(chunk)
                progress.done += len(chunk)
                if stop():
                    raise StagingError(
                        CODE, f"{shown(url)}: given up in the middle", retryable=True
                    )
            progress.file.flush()

    @contextmanager
    def _request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        open_file: Callable[[], BinaryIO] | None,
        stop: Stop,
    ) -> Iterator[httpcore.Response]:
        """One request, through redirects; each is judged as if the task had named it."""
        here = self._checked(url)
        for _ in range(MAX_REDIRECTS + 1):
            content = None if open_file is None else _chunks(open_file, stop)
            pool, target = self._way(here)
            sent = [("host", here.netloc.decode("ascii")), *_BEGINNING.items(), *headers.items()]
            with pool.stream(
                method,
                target,
                headers=sent,
                content=content,
                extensions={"timeout": _WAIT},
            ) as answer:
                if answer.status not in _REDIRECTS:
                    yield answer
                    return
                location = _header(answer, "location")
            if method != "GET" and answer.status not in (307, 308):
                raise _refused(url, answer.status)
            here = self._redirected(here, location)
        raise StagingError(CODE, f"{shown(url)} redirects more than {MAX_REDIRECTS} times")

    def _redirected(self, here: httpx.URL, location: str) -> httpx.URL:
        try:
            there = here.join(location)
        except (httpx.InvalidURL, ValueError) as error:
            raise StagingError(CODE, f"{shown(str(here))} redirects to no usable URL") from error
        if here.scheme == "https" and there.scheme != "https":
            raise StagingError(CODE, f"{shown(str(here))} redirects away from https")
        try:
            return self._checked(str(there))
        except StagingError as error:
            raise error.about(f"{shown(str(here))} redirects") from None

    def _checked(self, url: str) -> httpx.URL:
        if len(url) > MAX_URL:
            raise StagingError(CODE, f"{shown(url)}: the URL is longer than {MAX_URL} characters")
        try:
            parsed = httpx.URL(url)
        except (httpx.InvalidURL, ValueError) as error:
            raise StagingError(CODE, f"{shown(url)!r} is no usable URL") from error
        host = parsed.raw_host.decode("ascii")
        port = parsed.port or (443 if parsed.scheme == "https" else 80)
        plain = parsed.scheme == "http" and self.rules.allows_http(host, port)
        if parsed.scheme != "https" and not plain:
            raise StagingError(CODE, f"{shown(url)}: this site uses https only")
        if parsed.userinfo:
            raise StagingError(
                CODE, f"{shown(url)}: holds a user or password; use a presigned URL instead"
            )
        if not 0 < port < 65536 or "%" in host or not host:
            raise StagingError(CODE, f"{shown(url)!r} is no usable URL")
        self.rules.check_host(host, port)
        return parsed

    def _way(self, url: httpx.URL) -> tuple[httpcore.ConnectionPool, httpcore.URL]:
        host = url.raw_host.decode("ascii")
        proxy = getproxies().get(url.scheme, "")
        if proxy_bypass(host.strip("[]")):
            proxy = ""
        pool = self._pools.get(proxy) or self._pools.setdefault(proxy, self._pool(proxy))
        target = httpcore.URL(
            scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
        )
        return pool, target

    def _pool(self, proxy: str) -> httpcore.ConnectionPool:
        if self.tls is None:
            self.tls = httpx.create_ssl_context()
        if not proxy:
            return httpcore.ConnectionPool(
                ssl_context=self.tls,
                max_connections=32,
                keepalive_expiry=15.0,
                network_backend=Pinned(self.rules, self.resolve),
            )
        try:
            parsed = httpx.URL(proxy if "://" in proxy else f"http://{proxy}")
            secret = (parsed.username, parsed.password) if parsed.userinfo else None
            return httpcore.HTTPProxy(
                proxy_url=httpcore.URL(
                    scheme=parsed.raw_scheme, host=parsed.raw_host, port=parsed.port, target=b"/"
                ),
                proxy_auth=secret,
                ssl_context=self.tls,
                max_connections=32,
                keepalive_expiry=15.0,
            )
        except (httpx.InvalidURL, ValueError, TypeError) as error:
            raise StagingError(
                CODE, "the site's HTTPS_PROXY is no usable URL", retryable=True
            ) from error


def _chunks(open_file: Callable[[], BinaryIO], stop: Stop) -> Iterator[bytes]:
    with open_file() as file:
        while chunk := file.read(CHUNK):
            if stop():
                raise StagingError(CODE, "given up in the middle", retryable=True)
            yield chunk


def _words(error: Exception) -> str:
    """What went wrong, without what the library may have put in its message."""
    if isinstance(error, httpcore.TimeoutException):
        return "no answer in time"
    if isinstance(error, httpcore.ConnectError):
        return "no connection" + (
            ": its certificate is not trusted" if "CERTIFICATE" in str(error).upper() else ""
        )
    if isinstance(error, httpcore.ProxyError):
        return "the site's proxy refused"
    return "the connection broke"


def _refused(url: str, status: int) -> StagingError:
    hint = {401: "; is the URL still valid?", 403: "; is the URL still valid?"}.get(status, "")
    passing = status in (206, 408, 425, 429) or status >= 500
    return StagingError(CODE, f"{shown(url)} answered {status}{hint}", retryable=passing)


def _too_large(url: str, limit: int) -> StagingError:
    return StagingError(
        "too_large", f"{shown(url)} is larger than the {limit} bytes that the task has room for"
    )


def _header(answer: httpcore.Response, name: str) -> str:
    wanted = name.encode()
    return next(
        (value.decode("latin-1") for key, value in answer.headers if key.lower() == wanted), ""
    )


def _announced(answer: httpcore.Response) -> int | None:
    text = _header(answer, "content-length")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None


def _continues(answer: httpcore.Response, done: int) -> bool:
    return done > 0 and _header(answer, "content-range").startswith(f"bytes {done}-")


def _strong_tag(answer: httpcore.Response) -> str:
    tag = _header(answer, "etag")
    return tag if tag.startswith('"') else ""
