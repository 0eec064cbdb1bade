"""The spawner as a process: light, alone, patient with bad clients, and gone when idle."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ayni.agent.executors import spawner_client
from ayni.agent.executors.base import ExecutorUnavailable
from ayni.agent.executors.spawner_client import SpawnerClient
from ayni.agent.supervisor import boot, files
from ayni.agent.supervisor.spawner import SOCKET

CONFIG = {"cores": 1, "memory": 1 << 30, "gpus": 0, "pin": False, "cgroup": None}
HEAVY = {"pydantic", "httpx", "asyncio", "subprocess", "dataclasses", "inspect", "pathlib"}


@pytest.fixture
def state(tmp_path: Path) -> Path:
    (tmp_path / "jobs").mkdir()
    return tmp_path


@pytest.fixture
def client(state: Path) -> Iterator[SpawnerClient]:
    found = SpawnerClient(state, CONFIG)
    yield found
    found.leave()


def test_the_spawner_imports_little():
    code = "import sys; from ayni.agent.supervisor import spawner; print(*sys.modules)"
    words = [
        sys.executable,
        "-I",
        "-S",
        "-c",
        f"import sys; sys.path.insert(0, {boot._SOURCE!r}); ",
    ]
    words[-1] += code
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    modules = set(done.stdout.split())
    assert not modules & HEAVY
    assert {name for name in modules if name.startswith("ayni.") and "supervisor" not in name} <= {
        "ayni.agent"
    }


def test_there_is_one_spawner_to_a_state_folder(state, client):
    pid = client._ask({"op": "hello"})["pid"]
    done = subprocess.run(
        boot.command("spawner", str(state), CONFIG), capture_output=True, check=True
    )
    assert done.stdout == b"busy\n"
    other = SpawnerClient(state, CONFIG)
    assert other._ask({"op": "hello"})["pid"] == pid
    other.close()


def talk(state: Path, data: bytes) -> bytes:
    """What the spawner says to raw bytes before it hangs up."""
    with socket.socket(socket.AF_UNIX) as raw:
        raw.settimeout(10)
        folder = os.open(state, os.O_PATH)
        raw.connect(f"/proc/self/fd/{folder}/{SOCKET}")
        os.close(folder)
        raw.sendall(data)
        return raw.recv(1000)


@pytest.mark.parametrize(
    "data", [b"\xff\xfe\n", b"[1]\n", b'{"op":"fly"}\n', b'{"op":"submit"}\n', b"{}\n", b"null\n"]
)
def test_a_bad_request_costs_its_sender_the_connection_only(state, client, data):
    pid = client._ask({"op": "hello"})["pid"]
    assert talk(state, data) == b""
    assert client._ask({"op": "hello"})["pid"] == pid


def test_the_socket_is_for_the_agents_user_alone(state, client):
    client.count()
    assert (state / SOCKET).stat().st_mode & 0o077 == 0


def test_a_spawner_of_another_version_makes_way(state, client, monkeypatch):
    before = client._ask({"op": "hello"})["pid"]
    client.close()
    answers = []
    exchange = SpawnerClient._exchange

    def older(self, request):
        answer = exchange(self, request)
        if answer.get("pid") == before:
            answer["protocol"] = 0
        answers.append(answer)
        return answer

    monkeypatch.setattr(SpawnerClient, "_exchange", older)
    client.count()
    assert client._ask({"op": "hello"})["pid"] != before
    assert files.start_ticks(before) is None


def test_a_spawner_that_cannot_start_is_said_to_be_unavailable(state, monkeypatch):
    monkeypatch.setattr(spawner_client.boot, "command", lambda *a: ["false"])
    with pytest.raises(ExecutorUnavailable, match=r"did not start.*spawner\.log"):
        SpawnerClient(state, CONFIG).count()


def test_a_stale_socket_does_not_keep_a_spawner_from_starting(state):
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(state / SOCKET))
    client = SpawnerClient(state, CONFIG)
    assert client.count()["waiting"] == 0
    client.leave()


def test_a_torn_job_file_is_passed_over(state):
    (state / "jobs" / "torn.json").write_text('{"id": "torn", "fol')
    (state / "jobs" / "other.json").write_text(json.dumps({"id": "another"}))
    client = SpawnerClient(state, CONFIG)
    assert client.count()["waiting"] == 0
    client.leave()
