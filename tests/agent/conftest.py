"""An agent, whole, against a hub of the tests."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from ayni.agent import config, engine, identity, run
from ayni.agent.cycle import Cycle
from ayni.agent.executors.local import LocalExecutor
from ayni.agent.journal import Journal
from ayni.agent.line import Fenced
from ayni.agent.runtimes import choose
from ayni.agent.runtimes.base import Finding, Runtime
from tests.agent.fakehub import KEY, FakeHub


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    fake = FakeHub()
    yield fake
    fake.close()


@dataclass
class RunningAgent:
    """An agent in a thread of this process, on a state folder that outlives it."""

    config: config.Config
    cycle: Cycle
    fenced: str = ""

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.cycle.run()
        except Fenced as error:
            self.fenced = str(error)

    def join(self, seconds: float) -> bool:
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def stop(self) -> None:
        """As SIGTERM does: jobs go on."""
        self.cycle.stopping.set()
        self.cycle.wake()
        self._thread.join()
        self.cycle.close()


Start = Callable[..., RunningAgent]


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> tuple[Runtime, Sequence[Finding]]:
    """The sandbox that works here, tried once for all tests."""
    return choose.host_runtime(tmp_path_factory.mktemp("host"), allow_unsandboxed=True)


@pytest.fixture
def start_agent(
    hub: FakeHub,
    tmp_path: Path,
    sandbox: tuple[Runtime, Sequence[Finding]],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Start]:
    """Starts agents of the one site, one after another; its jobs are ended with the test."""
    monkeypatch.setattr(engine, "host_runtime", lambda folder, allow_unsandboxed: sandbox)
    running: list[tuple[RunningAgent, ExitStack]] = []

    def stop_last() -> None:
        agent, stack = running.pop()
        agent.stop()
        stack.close()

    def start(extra: str = "") -> RunningAgent:
        if running:
            stop_last()
        path = tmp_path / "agent.toml"
        text = f'hub = "{hub.url}"\nstate = "state"\nproduction = false\n{extra}'
        loaded = config.parse(text, path)
        identity.save(loaded, "andes", KEY)
        stack = ExitStack()
        journal = Journal(loaded.state)
        stack.callback(journal.close)
        cycle = run.assemble_cycle(loaded, identity.load(loaded), journal, stack)
        agent = RunningAgent(loaded, cycle)
        agent.start()
        running.append((agent, stack))
        return agent

    yield start
    if running:
        agent, _ = running[-1]
        agent.stop()
        executor = agent.cycle.executor
        assert isinstance(executor, LocalExecutor)
        executor.shutdown()
        running.pop()[1].close()
