"""kill -9 of the agent's process at any instant: whoever starts next goes on."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from ayni.agent import config, identity
from ayni.agent.executors.local import LocalExecutor
from ayni.protocol.attempts import FINAL, AttemptState
from tests.agent.assignments import assignment
from tests.agent.fakehub import KEY, FakeHub

ENV = {k: v for k, v in os.environ.items() if not k.startswith(("AYNI_", "HTTP", "http"))}


def start(path: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "ayni", "site", "run", "--config", str(path)]
    return subprocess.Popen(command, env=ENV, stderr=subprocess.DEVNULL)


def test_no_task_is_lost_or_run_twice_however_often_the_agent_is_killed(
    hub: FakeHub, tmp_path: Path
) -> None:
    path = tmp_path / "agent.toml"
    path.write_text(f'hub = "{hub.url}"\nstate = "state"\nproduction = false\n')
    loaded = config.load(path)
    identity.save(loaded, "andes", KEY)
    names = [f"t{n}" for n in range(24)]
    command = ["sh", "-c", "echo ran; sleep 0.1"]
    hub.place(*(assignment(name, command) for name in names[:12]))
    chance = random.Random(11)
    for kill in range(4):
        agent = start(path)
        generation = kill + 1
        assert hub.wait_for(lambda g=generation: hub.memory.generation == g)
        if kill == 1:
            hub.place(*(assignment(name, command) for name in names[12:]))
        time.sleep(chance.uniform(0.0, 0.4))
        agent.send_signal(signal.SIGKILL)
        agent.wait()
    agent = start(path)
    try:
        assert hub.wait_for(lambda: hub.memory.generation == 5), "it is up, and hears SIGTERM"
        assert hub.wait_for(lambda: all(p.state in FINAL for p in hub.attempts.values()), 60)
    finally:
        agent.send_signal(signal.SIGTERM)
        code = agent.wait(30)
        LocalExecutor(loaded.executor_folder, 1, 1 << 30, allow_unsandboxed=True).shutdown()
    assert code == 0, "SIGTERM is an orderly end"
    assert set(hub.states().values()) == {AttemptState.COMPLETE}
    for name in names:
        assert [log.tail for log in hub.report(name).logs] == ["ran\n"], name
    assert hub.illegal == []
    assert [p.name for p in loaded.work_folder.iterdir() if not p.name.startswith(".")] == []


def test_sigterm_leaves_tasks_running(hub: FakeHub, tmp_path: Path) -> None:
    path = tmp_path / "agent.toml"
    path.write_text(f'hub = "{hub.url}"\nstate = "state"\nproduction = false\n')
    loaded = config.load(path)
    identity.save(loaded, "andes", KEY)
    hub.place(assignment("a", ["sleep", "600"]))
    agent = start(path)
    assert hub.wait_for(lambda: hub.attempts["a"].state is AttemptState.RUNNING)
    agent.send_signal(signal.SIGTERM)
    assert agent.wait(30) == 0
    executor = LocalExecutor(loaded.executor_folder, 1, 1 << 30, allow_unsandboxed=True)
    try:
        assert executor.states(["a"])["a"].state == "running"
    finally:
        executor.shutdown()


def test_a_fenced_agent_ends_with_a_code_that_systemd_does_not_restart(
    hub: FakeHub, tmp_path: Path
) -> None:
    path = tmp_path / "agent.toml"
    path.write_text(f'hub = "{hub.url}"\nstate = "state"\nproduction = false\n')
    identity.save(config.load(path), "andes", KEY)
    hub.memory = type(hub.memory)("another-journal", 9, "s", 1, 0)
    command = [sys.executable, "-m", "ayni", "site", "run", "--config", str(path)]
    done = subprocess.run(command, env=ENV, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 3
    assert "register the site again" in done.stderr
    assert "Traceback" not in done.stderr
    assert KEY not in done.stderr
    executor = LocalExecutor(config.load(path).executor_folder, 1, 1 << 30, allow_unsandboxed=True)
    executor.shutdown()
