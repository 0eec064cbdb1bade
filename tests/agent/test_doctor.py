"""`ayni site doctor`: things are broken on purpose, and it must say so, with the remedy."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ayni.agent import identity
from ayni.agent.config import Config, load
from ayni.agent.doctor import Check, Level, examine
from ayni.agent.doctor import disk as disk_checks
from ayni.agent.doctor import machine as machine_checks
from ayni.agent.doctor import network as network_checks
from ayni.agent.runtimes.base import Finding
from ayni.cli.frame import build
from tests.agent.fakehub import KEY


class Peer:
    """An HTTP server that answers as the test wants."""

    def __init__(self) -> None:
        self.service = 200
        self.key = 200
        self.date = 0.0  # seconds that its clock is off
        peer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._say(peer.service, b"{}")

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                self._say(peer.key, b'{"title": "No", "detail": "the test says no"}')

            def _say(self, code: int, body: bytes) -> None:
                self.send_response_only(code)
                self.send_header("Date", formatdate(peer.now() + peer.date, usegmt=True))
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,)).start()

    @staticmethod
    def now() -> float:
        import time

        return time.time()


@pytest.fixture
def peer() -> Iterator[Peer]:
    found = Peer()
    yield found
    found.server.shutdown()
    found.server.server_close()


Make = Callable[..., Config]


@pytest.fixture
def make(peer: Peer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)

    def write(extra: str = "", hub: str = peer.url) -> Config:
        path = tmp_path / "agent.toml"
        path.write_text(f'hub = "{hub}"\nstate = "state"\n{extra}')
        config = load(path)
        identity.save(config, "andes", KEY)
        return config

    return write


def found(checker: Callable[[Config], Iterator[Check]], config: Config) -> dict[str, Check]:
    checks = list(checker(config))
    for check in checks:
        assert check.message
        assert check.level is Level.OK or check.remedy, f"{check} names no remedy"
    return {check.name: check for check in checks}


def test_a_site_in_order_passes(make: Make) -> None:
    config = make('[limits]\nwork = "1MiB"\ncache = "1MiB"')
    for checker in (*network_checks.CHECKS, *disk_checks.CHECKS):
        for check in found(checker, config).values():
            assert check.level is not Level.FAIL, check


def test_a_hub_that_is_not_there(make: Make) -> None:
    check = found(network_checks.way, make(hub="http://127.0.0.1:9"))["hub"]
    assert check.level is Level.FAIL
    assert "firewall" in check.remedy


def test_something_else_answers_at_the_address(make: Make, peer: Peer) -> None:
    peer.service = 404
    assert found(network_checks.way, make())["hub"].level is Level.FAIL


@pytest.mark.parametrize(
    ("off", "level"), [(0, Level.OK), (-30, Level.WARN), (30, Level.WARN), (900, Level.FAIL)]
)
def test_a_clock_that_is_wrong(make: Make, peer: Peer, off: float, level: Level) -> None:
    peer.date = off
    assert found(network_checks.way, make())["clock"].level is level


def test_a_proxy_that_does_not_work_is_named_without_its_password(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make(hub="http://hub.invalid")
    monkeypatch.setenv("HTTP_PROXY", "http://me:secret@127.0.0.1:9")
    check = found(network_checks.way, config)["hub"]
    assert "by proxy http://127.0.0.1:9" in check.message
    assert "secret" not in check.message + check.remedy
    assert "HTTPS_PROXY" in check.remedy


def test_a_certificate_that_nobody_vouches_for(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object, **more: object) -> None:
        import httpx

        raise httpx.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed")

    monkeypatch.setattr("httpx.Client.get", fail)
    check = found(network_checks.way, make())["hub"]
    assert "https.ca_file" in check.remedy


def test_a_file_of_authorities_that_holds_none(make: Make, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    check = found(network_checks.way, make('[https]\nca_file = "ca.pem"'))["authorities"]
    assert check.level is Level.FAIL


@pytest.mark.parametrize(
    ("status", "level", "remedy"),
    [
        (200, Level.OK, ""),
        (401, Level.FAIL, "register again"),
        (403, Level.FAIL, "operator"),
        (500, Level.WARN, "try again"),
    ],
)
def test_a_key_that_is_not_taken(
    make: Make, peer: Peer, status: int, level: Level, remedy: str
) -> None:
    peer.key = status
    check = found(network_checks.key, make())["key"]
    assert check.level is level
    assert remedy in check.remedy
    assert KEY not in check.message


def test_a_site_that_is_not_registered(make: Make) -> None:
    config = make()
    config.key_path.unlink()
    check = found(network_checks.key, config)["key"]
    assert check.level is Level.FAIL and "register" in check.message


def test_a_state_folder_that_cannot_be_made(make: Make, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    config = make().model_copy(update={"state": tmp_path / "file" / "state"})
    assert found(disk_checks.state, config)["state"].level is Level.FAIL


def test_a_state_folder_on_a_shared_file_system(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk_checks, "file_system", lambda folder: "nfs4")
    check = found(disk_checks.state, make())["state"]
    assert check.level is Level.FAIL and "local disk" in check.remedy


def test_a_slow_disk(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk_checks, "_sync_time", lambda folder: 0.5)
    assert found(disk_checks.state, make())["state"].level is Level.WARN


@pytest.mark.parametrize(("free", "level"), [(1 << 20, Level.FAIL), (3 << 30, Level.WARN)])
def test_a_disk_that_is_nearly_full(
    make: Make, monkeypatch: pytest.MonkeyPatch, free: int, level: Level
) -> None:
    monkeypatch.setattr(disk_checks.disk, "free", lambda folder: free)
    assert found(disk_checks.state, make())["disk"].level is level


def test_the_file_system_of_a_folder_is_found(tmp_path: Path) -> None:
    assert disk_checks.file_system(Path("/proc")) == "proc"
    assert disk_checks.file_system(tmp_path) not in ("?", "proc")


def test_a_dataset_that_is_not_in_order(make: Make) -> None:
    config = make()
    config.store_folder.mkdir(parents=True)
    (config.store_folder / "letras.toml").write_text('version = "1"\nlicense = "CC0"')
    check = found(disk_checks.datasets, config)["datasets"]
    assert "datasets" in check.name
    problems = [c for c in disk_checks.datasets(config) if c.level is Level.WARN]
    assert problems and "letras" in problems[0].message


@pytest.mark.parametrize(
    ("kernel", "pin", "level", "words"),
    [
        (True, "false", Level.OK, "the kernel"),
        (False, '"auto"', Level.OK, "tied to its cores"),
        (False, "false", Level.WARN, "nothing keeps a task to its cores"),
    ],
)
def test_what_holds_tasks_to_their_cores_is_said(
    make: Make, monkeypatch: pytest.MonkeyPatch, kernel: bool, pin: str, level: Level, words: str
) -> None:
    monkeypatch.setattr("ayni.agent.supervisor.cgroup.holds_cores", lambda path: kernel)
    check = found(machine_checks.executor, make(f"[executor]\npin = {pin}"))["cores"]
    assert check.level is level
    assert words in check.message


def test_more_is_promised_than_the_machine_has(make: Make) -> None:
    checks = list(machine_checks.executor(make('[executor]\ncores = 9999\nmemory = "9999TiB"')))
    assert [check.level for check in checks][:3] == [Level.WARN, Level.FAIL, Level.OK]


@pytest.mark.parametrize(
    ("extra", "level"),
    [
        ("", Level.FAIL),
        ("allow_unsandboxed = true", Level.WARN),
        ("production = false", Level.WARN),
        ('production = false\n[executor]\nkind = "slurm"\nslurm.shared = "shared"', Level.FAIL),
    ],
)
def test_no_sandbox_fails_a_site_in_production_and_warns_others(
    make: Make, monkeypatch: pytest.MonkeyPatch, extra: str, level: Level
) -> None:
    broken = [
        Finding("sandbox: namespaces", False, "not permitted", "allow user namespaces"),
        Finding("sandbox: bubblewrap", False, "bwrap is not on PATH", "install it"),
        Finding("limits: cgroup", False, "best effort: no cgroup", "Delegate=yes"),
    ]
    monkeypatch.setattr(machine_checks, "runtime_findings", lambda folder, names: broken)
    checks = found(machine_checks.sandbox, make(extra))
    assert checks["sandbox"].level is level
    assert "user namespaces" in checks["sandbox"].remedy
    assert checks["limits: cgroup"].level is Level.WARN
    assert "best effort" in checks["limits: cgroup"].message


def test_images_that_are_not_there(make: Make) -> None:
    extra = (
        '[images.a]\nprefixes = ["/no/where"]\n[images.b]\nruntime = "apptainer"\nimage = "/no.sif"'
    )
    checks = found(machine_checks.images, make(extra))
    assert {name: check.level for name, check in checks.items()} == {
        "image a": Level.FAIL,
        "image b": Level.FAIL,
    }


def test_root_is_warned_of(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert found(machine_checks.user, make())["user"].level is Level.WARN
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert found(machine_checks.user, make())["user"].level is Level.OK


def test_a_broken_configuration_ends_the_examination(tmp_path: Path) -> None:
    path = tmp_path / "agent.toml"
    path.write_text("hub = 1")
    [check] = examine(path)
    assert check.level is Level.FAIL
    done = CliRunner().invoke(build(), ["site", "doctor", "--config", str(path), "--json"])
    assert done.exit_code == 1
    assert json.loads(done.output)["ok"] is False


def test_the_command_shows_every_check_and_its_remedy(make: Make, tmp_path: Path) -> None:
    make(hub="http://127.0.0.1:9")
    done = CliRunner().invoke(build(), ["site", "doctor", "--config", str(tmp_path / "agent.toml")])
    assert done.exit_code == 1
    assert "fail  hub" in done.output and "→" in done.output
    assert "Traceback" not in done.output


def test_no_check_opens_a_port(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def listen(*args: object) -> None:
        raise AssertionError("agents call out only")

    monkeypatch.setattr(socket.socket, "listen", listen)
    config = make()
    for checker in network_checks.CHECKS:
        list(checker(config))
