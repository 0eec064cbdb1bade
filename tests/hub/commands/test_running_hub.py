"""`ayni hub run` as a process: it answers, is alone on its state, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.living import of_hub

AYNI = [sys.executable, "-m", "ayni"]
LIMIT = 30.0  # seconds for something that takes two on an idle machine


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port: int = s.getsockname()[1]
        return port


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    env = {k: v for k, v in os.environ.items() if not k.startswith(("AYNI_", "DJANGO_"))}
    return env | {"AYNI_HUB_STATE": str(tmp_path / "hub"), "NO_PROXY": "127.0.0.1"}


class Running:
    def __init__(self, env: dict[str, str]) -> None:
        self.port = free_port()
        command = [*AYNI, "hub", "run", "--port", str(self.port), "--files-port", str(free_port())]
        self.process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)
        self.state = env["AYNI_HUB_STATE"]
        assert self.process.stdout is not None
        self.said = self.process.stdout.readline()

    def wait(self) -> None:
        until(lambda: self.answers())

    def answers(self) -> bool:
        try:
            url = f"http://127.0.0.1:{self.port}/api/v1/me"
            return httpx.get(url, trust_env=False, timeout=5).status_code == 401
        except httpx.HTTPError:
            return False

    def family(self) -> list[int]:
        """Living processes of this hub."""
        return of_hub(self.state)


def until(holds: object) -> None:
    end = time.monotonic() + LIMIT
    while not holds():  # type: ignore[operator]
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


@pytest.fixture
def running(env: dict[str, str]) -> Iterator[Running]:
    subprocess.run([*AYNI, "hub", "init"], env=env, check=True, capture_output=True)
    hub = Running(env)
    try:
        hub.wait()
        yield hub
    finally:
        if hub.process.poll() is None:
            hub.process.kill()
        hub.process.wait()
        assert hub.process.stdout is not None
        hub.process.stdout.close()


def test_a_hub_says_its_address_is_alone_and_leaves_nothing_when_killed(
    running: Running, env: dict[str, str]
) -> None:
    assert f"http://127.0.0.1:{running.port}" in running.said
    second = subprocess.run(
        [*AYNI, "hub", "run", "--port", str(free_port())],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert second.returncode == 2
    assert "running" in second.stderr
    assert second.stderr.count("\n") == 1
    assert len(running.family()) >= 3  # it, a server, the file server
    running.process.kill()
    running.process.wait()
    until(lambda: not running.family())


def test_status_says_where_the_hub_listens_whatever_its_own_environment_says(
    running: Running, env: dict[str, str]
) -> None:
    def told() -> dict[str, object]:
        command = [*AYNI, "hub", "status", "--json"]
        found = json.loads(subprocess.run(command, env=env, check=True, capture_output=True).stdout)
        return {key: found[key] for key in ("hub", "listening", "running")}

    here = f"127.0.0.1:{running.port}"
    assert told() == {"hub": f"http://{here}", "listening": here, "running": True}
    running.process.kill()
    running.process.wait()
    until(lambda: not running.family())
    assert told() == {"hub": None, "listening": None, "running": False}


def test_a_hub_ends_cleanly_when_asked(running: Running) -> None:
    running.process.send_signal(signal.SIGTERM)
    assert running.process.wait(LIMIT) == 0
    until(lambda: not running.family())


def test_a_hub_that_was_not_made_says_how(env: dict[str, str]) -> None:
    done = subprocess.run(
        [*AYNI, "hub", "run"], env=env, capture_output=True, text=True, check=False
    )
    assert (done.returncode, "ayni hub init" in done.stderr) == (2, True)


@pytest.mark.parametrize(
    "url",
    ["", "nonsense", "mysql://h/x", "sqlite", "postgres://u:secret@h:port/x", "postgres://[::1/x"],
)
def test_a_database_url_that_is_none_is_told_in_a_line_without_the_password(
    env: dict[str, str], url: str
) -> None:
    done = subprocess.run(
        [*AYNI, "hub", "init"],
        env=env | {"AYNI_DATABASE_URL": url},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "AYNI_DATABASE_URL: " in done.stderr
    assert "postgres://user:password@host/name" in done.stderr
    assert "secret" not in done.stderr


def test_a_store_url_that_is_none_keeps_the_hub_from_starting(env: dict[str, str]) -> None:
    subprocess.run([*AYNI, "hub", "init"], env=env, check=True, capture_output=True)
    done = subprocess.run(
        [*AYNI, "hub", "run", "--port", str(free_port())],
        env=env | {"AYNI_STORE_URL": "file://store"},
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT,
    )
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "AYNI_STORE_URL: it names no folder" in done.stderr
