"""Fetching and sending on a task's behalf."""

from __future__ import annotations

import io
import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ayni.agent.staging.addresses import Rules
from ayni.agent.staging.errors import StagingError
from ayni.agent.staging.https import Web, shown
from tests.agent.staging.conftest import Server

BIG = 1 << 40


@pytest.fixture
def web(server: Server) -> Iterator[Web]:
    web = Web(Rules(hosts=("*",), private=(f"127.0.0.1:{server.port}",)), pause=0.001)
    yield web
    web.close()


def get(web: Web, url: str, limit: int = BIG, **more: Any) -> bytes:
    file = io.BytesIO()
    size = web.get(url, file, limit=limit, **more)
    assert size == len(file.getvalue())
    return file.getvalue()


def test_a_file_is_fetched_as_it_is(server: Server, web: Web) -> None:
    body = b"\x1f\x8b\x08 an archive is not unpacked"
    url = server.page("/a.tar.gz", body, Content_Encoding="gzip")
    assert get(web, url) == body


def test_an_answer_without_a_length_is_taken_to_its_end(server: Server, web: Web) -> None:
    def chunked(handler: Any) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        handler.wfile.write(b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")

    server.pages["/c"] = chunked
    assert get(web, server.url + "/c") == b"abcde"


def test_a_redirect_is_followed(server: Server, web: Web) -> None:
    server.page("/there", b"x")
    assert get(web, server.page("/here", status=302, Location="/there")) == b"x"


@pytest.mark.parametrize(
    "target",
    [
        "http://169.254.169.254/latest/meta-data/",
        "https://169.254.169.254/latest/meta-data/",
        "http://localhost/",
        "https://localhost/",
        "https://[::1]/",
        "https://[::ffff:127.0.0.1]/",
        "https://2130706433/",
        "https://0x7f.1/",
        "https://127.1/",
        "https://10.0.0.5/",
        "https://192.168.0.1:8443/",
        "https://[fd00::1]/",
        "https://[64:ff9b::7f00:1]/",
        "https://metadata.google.internal/",
        "file:///etc/passwd",
        "ftp://example.org/",
        "gopher://127.0.0.1:25/",
        "//127.0.0.1/",
    ],
)
def test_a_redirect_into_the_site_is_refused(server: Server, web: Web, target: str) -> None:
    url = server.page("/trap", status=302, Location=target)
    with pytest.raises(StagingError) as caught:
        get(web, url)
    assert not caught.value.retryable
    assert [path for _, path, _ in server.asked] == ["/trap"]


def test_a_redirect_to_another_port_of_an_opened_host_is_refused(server: Server, web: Web) -> None:
    url = server.page("/trap", status=307, Location=f"http://127.0.0.1:{server.port + 1}/")
    with pytest.raises(StagingError):
        get(web, url)


def test_a_redirect_to_a_host_that_is_not_on_the_list_is_refused(server: Server) -> None:
    web = Web(Rules(hosts=("ok.example",), private=(f"127.0.0.1:{server.port}",)))
    url = server.page("/trap", status=302, Location="https://elsewhere.example/")
    with pytest.raises(
        StagingError, match=r"redirects: .*exchanges nothing with elsewhere\.example"
    ):
        get(web, url)


def test_endless_redirects_end(server: Server, web: Web) -> None:
    url = server.page("/loop", status=302, Location="/loop")
    with pytest.raises(StagingError, match="more than 5 times"):
        get(web, url)
    assert len(server.asked) == 6


def test_a_redirect_carries_no_headers_of_the_first_request(server: Server, web: Web) -> None:
    server.page("/there", b"x", Set_Cookie="a=b")
    get(web, server.page("/here", status=302, Location="/there?y", Set_Cookie="s=secret"))
    _, _, headers = server.asked[-1]
    assert {name.lower() for name in headers} == {"host", "user-agent", "accept", "accept-encoding"}


def test_the_name_is_resolved_once_and_that_very_address_is_called(server: Server) -> None:
    answers = [["127.0.0.1"], ["127.0.0.2"]]
    asked = []

    def resolve(host: str, port: int) -> list[str]:
        asked.append(host)
        return answers[len(asked) - 1]

    name = f"files.example:{server.port}"
    web = Web(Rules(private=(name,)), resolve)
    server.page("/a", b"x")
    assert get(web, f"http://{name}/a") == b"x"
    assert asked == ["files.example"]
    assert server.asked[0][2]["host"] == name
    web.close()


@pytest.mark.parametrize("answers", [["127.0.0.1"], ["93.184.216.34", "127.0.0.1"], ["::1"]])
def test_a_name_that_leads_inside_is_refused_before_anything_is_sent(
    server: Server, answers: list[str]
) -> None:
    web = Web(Rules(hosts=("*",), http=True), lambda host, port: answers)
    with pytest.raises(StagingError, match="does not lead to a public address") as caught:
        get(web, f"http://rebinding.example:{server.port}/?key=secret")
    assert not caught.value.retryable
    assert server.asked == []
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/a",
        "https://user:hunter2@example.org/",
        "https://",
        "https:///a",
        "https://example.org:99999/",
        "https://exa\x00mple.org/",
        "https://[fe80::1%25eth0]/",
        "https://a b/",
        "https://example.org/" + "a" * 5000,
        "ftp://example.org/",
        "HTTPS:/example.org",
    ],
)
def test_a_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(StagingError) as caught:
        Web(Rules(hosts=("*",))).check(url)
    assert "hunter2" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_https_is_not_left_by_a_redirect_even_where_http_is_allowed(
    server: Server, tmp_path: Path
) -> None:
    with tls_server(server, tmp_path) as web:
        server.page("/plain", b"x")
        url = server.page("/trap", status=302, Location=f"http://127.0.0.1:{server.port}/plain")
        web.rules = Rules(private=("*",), http=True)
        with pytest.raises(StagingError, match="away from https"):
            get(web, url.replace("http:", "https:"))


def test_a_certificate_that_nobody_vouches_for_is_refused(server: Server, tmp_path: Path) -> None:
    with tls_server(server, tmp_path) as web:
        url = server.page("/a", b"x").replace("http:", "https:")
        assert get(web, url) == b"x"
        stranger = Web(web.rules, pause=0.001)
        with pytest.raises(StagingError, match="certificate is not trusted"):
            get(stranger, url)
        other_name = Web(web.rules, lambda host, port: ["127.0.0.1"], tls=web.tls, pause=0.001)
        with pytest.raises(StagingError, match="certificate is not trusted"):
            get(other_name, url.replace("127.0.0.1", "other.example"))


class tls_server:
    """The server speaks TLS; the Web trusts its certificate."""

    def __init__(self, server: Server, folder: Path) -> None:
        if shutil.which("openssl") is None:
            pytest.skip("openssl makes the certificate, and is not installed")
        key, certificate = folder / "key.pem", folder / "cert.pem"
        subprocess.run(
            [
                *(
                    "openssl",
                    "req",
                    "-x509",
                    "-newkey",
                    "ec",
                    "-pkeyopt",
                    "ec_paramgen_curve:P-256",
                ),
                *("-nodes", "-days", "2", "-subj", "/CN=ayni", "-keyout", str(key)),
                *("-addext", "subjectAltName=IP:127.0.0.1", "-out", str(certificate)),
            ],
            check=True,
            capture_output=True,
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        self.web = Web(
            Rules(private=("*",)), tls=ssl.create_default_context(cafile=certificate), pause=0.001
        )

    def __enter__(self) -> Web:
        return self.web

    def __exit__(self, *_: object) -> None:
        self.web.close()


# --- sizes, breaks and tries ---


def test_a_file_that_says_it_is_too_large_is_not_begun(server: Server, web: Web) -> None:
    with pytest.raises(StagingError, match="larger than the 10 bytes") as caught:
        get(web, server.page("/big", b"x" * 11), limit=10)
    assert not caught.value.retryable


def test_a_file_that_does_not_say_its_size_is_cut_off_at_the_limit(
    server: Server, web: Web
) -> None:
    def endless(handler: Any) -> None:
        handler.send_response(200)
        handler.send_header("Connection", "close")
        handler.end_headers()
        while True:
            handler.wfile.write(b"x" * 65536)

    server.pages["/endless"] = endless
    file = io.BytesIO()
    with pytest.raises(StagingError, match="larger than"):
        web.get(server.url + "/endless", file, limit=1 << 20)
    assert len(file.getvalue()) <= 1 << 20


def breaking(server: Server, body: bytes, tag: str, *, ranges: bool) -> str:
    """A page that breaks off in the middle of the first answer."""

    def page(handler: Any) -> None:
        first = len(server.asked) == 1
        start = 0
        asked = handler.headers.get("Range")
        if asked and ranges and handler.headers.get("If-Range") == tag:
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            handler.send_response(206)
            handler.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        else:
            handler.send_response(200)
        handler.send_header("Content-Length", str(len(body) - start))
        if tag:
            handler.send_header("ETag", tag)
        handler.end_headers()
        handler.wfile.write(body[start : len(body) // 2] if first else body[start:])
        handler.close_connection = first

    server.pages["/breaks"] = page
    return server.url + "/breaks"


@pytest.mark.parametrize(
    ("tag", "ranges", "resumed"), [('"v1"', True, True), ('"v1"', False, False), ("", True, False)]
)
def test_after_a_break_it_goes_on_where_the_server_can(
    server: Server, web: Web, tag: str, ranges: bool, resumed: bool
) -> None:
    body = bytes(range(256)) * 1000
    assert get(web, breaking(server, body, tag, ranges=ranges)) == body
    assert len(server.asked) == 2
    _, _, headers = server.asked[1]
    sent = {name.lower(): value for name, value in headers.items()}
    assert ("range" in sent) is bool(tag)
    if resumed:
        assert sent["range"] == f"bytes={len(body) // 2}-"


def test_a_partial_answer_that_nobody_asked_for_is_no_file(server: Server, web: Web) -> None:
    url = server.page("/odd", b"part", status=206, Content_Range="bytes 5-8/100")
    with pytest.raises(StagingError, match="answered 206"):
        get(web, url)


def test_a_server_that_fails_is_asked_again_and_then_no_more(server: Server, web: Web) -> None:
    with pytest.raises(StagingError, match="answered 503") as caught:
        get(web, server.page("/down", status=503))
    assert caught.value.retryable
    assert len(server.asked) == 4


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410])
def test_a_refusal_is_final_and_tells_no_secret(server: Server, web: Web, status: int) -> None:
    url = server.page("/no", b"body with internals", status=status)
    with pytest.raises(StagingError, match=f"answered {status}") as caught:
        get(web, url + "?X-Amz-Signature=secret#frag")
    assert not caught.value.retryable
    assert len(server.asked) == 1
    assert server.asked[0][1] == "/no?X-Amz-Signature=secret"
    for word in ("secret", "frag", "internals"):
        assert word not in str(caught.value)


def test_a_server_that_is_not_there_may_be_there_later(web: Web, server: Server) -> None:
    web.rules = Rules(private=("*",))
    with pytest.raises(StagingError, match="no connection") as caught:
        get(web, "http://127.0.0.1:1/x?secret")
    assert caught.value.retryable
    assert "secret" not in str(caught.value)


def test_what_is_no_http_is_an_error(server: Server, web: Web) -> None:
    def garbage(handler: Any) -> None:
        handler.wfile.write(b"SSH-2.0-OpenSSH_9.6\r\n")
        handler.close_connection = True

    server.pages["/g"] = garbage
    with pytest.raises(StagingError, match="connection broke"):
        get(web, server.url + "/g")


def test_a_fetch_can_be_stopped(server: Server, web: Web) -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(StagingError, match="given up") as caught:
        get(web, server.page("/a", b"x" * 100), stop=stop.is_set)
    assert caught.value.retryable
    assert len(server.asked) == 1


# --- sending ---


def test_a_file_is_sent_by_one_put_with_its_length(server: Server, web: Web) -> None:
    web.put(f"{server.url}/bucket/key?sig=secret", lambda: io.BytesIO(b"data"), 4)
    [(method, path, headers)] = server.asked
    assert (method, path) == ("PUT", "/bucket/key?sig=secret")
    sent = {name.lower(): value for name, value in headers.items()}
    assert sent["content-length"] == "4"
    assert "transfer-encoding" not in sent
    assert server.got[path] == b"data"


def test_a_put_is_redirected_with_its_body_and_not_into_the_site(server: Server, web: Web) -> None:
    url = server.page("/region", status=307, Location="/there")
    web.put(url, lambda: io.BytesIO(b"data"), 4)
    assert server.got["/there"] == b"data"
    trap = server.page("/trap", status=307, Location="https://169.254.169.254/")
    with pytest.raises(StagingError, match="no public address"):
        web.put(trap, lambda: io.BytesIO(b"data"), 4)
    moved = server.page("/moved", status=302, Location="/there")
    with pytest.raises(StagingError, match="answered 302"):
        web.put(moved, lambda: io.BytesIO(b"data"), 4)


def test_a_refused_put_is_an_error(server: Server, web: Web) -> None:
    with pytest.raises(StagingError, match="answered 403; is the URL still valid"):
        web.put(server.page("/no", status=403) + "?sig=1", lambda: io.BytesIO(b"data"), 4)


# --- proxies ---


def proxy(server: Server, seen: list[str]) -> str:
    """The server plays proxy: it notes CONNECT and absolute URLs, and refuses the former."""

    def connect(handler: Any) -> None:
        seen.append(handler.path)
        handler.send_error(403)

    handler: Any = server.RequestHandlerClass
    server.RequestHandlerClass = type("Proxy", (handler,), {"do_CONNECT": connect})
    return server.url


def test_through_a_proxy_the_name_goes_to_the_proxy(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    monkeypatch.setenv("HTTPS_PROXY", proxy(server, seen))

    def resolve(host: str, port: int) -> list[str]:
        raise AssertionError("the proxy resolves")

    web = Web(Rules(hosts=("*",)), resolve, pause=0.001)
    with pytest.raises(StagingError, match="proxy refused") as caught:
        get(web, "https://files.example.org/a?secret")
    assert caught.value.retryable
    assert set(seen) == {"files.example.org:443"}
    web.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "2130706433", "localhost", "[::1]", "10.0.0.1"])
def test_through_a_proxy_written_out_inner_addresses_are_refused_here(
    server: Server, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    seen: list[str] = []
    monkeypatch.setenv("HTTPS_PROXY", proxy(server, seen))
    with pytest.raises(StagingError):
        get(Web(Rules(hosts=("*",)), pause=0.001), f"https://{host}/")
    assert seen == []


def test_no_proxy_is_honoured(server: Server, web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert get(web, server.page("/a", b"x")) == b"x"


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("https://h/p?X-Amz-Signature=s#f", "https://h/p"),
        ("https://u:p@h/p", "https://h/p"),
        ("https://h/p@q", "https://h/p@q"),
        ("https://h?x", "https://h"),
    ],
)
def test_a_url_is_shown_without_its_secrets(url: str, text: str) -> None:
    assert shown(url) == text
