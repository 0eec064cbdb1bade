"""The whole network with its hub on PostgreSQL: two serving processes, either of which may die."""

from __future__ import annotations

import os
import secrets
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ayni.client import ArrayHandle, AyniError, Network
from ayni.demo.stage import Stage
from tests.live.alliance import PROJECT
from tests.live.conftest import client, need, running

pytestmark = [pytest.mark.live, pytest.mark.needs("postgres")]

TASKS = 300
LIMIT = 180  # seconds for the array


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    """A new database of the test server; dropped at the end, whoever is still connected."""
    need("postgres")
    server = os.environ["AYNI_TEST_POSTGRES"]
    name = f"network_{secrets.token_hex(4)}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        yield f"{server.rpartition('/')[0]}/{name}"
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="module")
def stage(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AYNI_DATABASE_URL", database)
        with running(tmp_path_factory.mktemp("postgres-network")) as found:
            yield found


@pytest.fixture(scope="module")
def network(stage: Stage) -> Iterator[Network]:
    with client(stage) as found:
        yield found


@pytest.fixture(scope="module")
def query(database: str) -> Iterator[Callable[[str], list[tuple[Any, ...]]]]:
    """Asks the hub's database."""
    with psycopg.connect(database, autocommit=True) as connection:
        yield lambda sql: connection.execute(sql).fetchall()


def workers(stage: Stage) -> list[int]:
    """The processes that serve: the hub's children but for the file server."""
    assert stage.hub.popen is not None
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it ended meanwhile
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            words = (entry / "cmdline").read_bytes()
            if parent == stage.hub.popen.pid and not any(
                other in words for other in (b"fileserver", b"resource_tracker")
            ):
                found.append(int(entry.name))
    return sorted(found)


def until(probe: Callable[[], bool]) -> None:
    end = time.monotonic() + LIMIT
    while not probe():
        assert time.monotonic() < end
        time.sleep(0.2)


def test_two_processes_serve_and_listen_for_each_other(stage: Stage, query: Any) -> None:
    assert len(workers(stage)) == 2
    here = "WHERE datname = current_database()"
    listening = f"SELECT count(*) FROM pg_stat_activity {here} AND query ILIKE 'LISTEN%'"
    until(lambda: query(listening) == [(2,)])
    leading = (
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted "
        f"AND database = (SELECT oid FROM pg_database {here})"
    )
    until(lambda: query(leading) == [(1,)])


def ended(array: ArrayHandle) -> int:
    """How many tasks are COMPLETE; what a hub that is down just now does not say counts as none."""
    try:
        return array.refresh().counts.get("COMPLETE", 0)
    except AyniError:
        return 0


def test_killed_hub_processes_lose_nothing_of_an_array(
    stage: Stage, network: Network, query: Any, tmp_path: Path
) -> None:
    array = network.map(
        {
            "name": "grains",
            "executors": [
                {
                    "image": "host",
                    "command": ["sh", "-c", "sleep 0.15; echo grain {{index}} > /out/g"],
                }
            ],
            "outputs": [{"path": "/out/g", "url": f"ayni://{PROJECT}/grains/{{{{index}}}}"}],
        },
        TASKS,
    )
    # Both serving processes, so that the one that leads is among them; another comes each time.
    for done in (30, 90):
        until(lambda least=done: ended(array) >= least)
        victim, *_ = workers(stage)
        os.kill(victim, signal.SIGKILL)
        until(lambda pid=victim: pid not in workers(stage) and len(workers(stage)) == 2)
    # Then the whole hub.
    until(lambda: ended(array) >= 150)
    serving = workers(stage)
    stage.hub.kill()
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in serving))
    stage.hub.start()
    stage.wait_hub()

    until(lambda: ended(array) == TASKS)
    network.store.get("grains/", tmp_path)
    found = {f.name: f.read_text() for f in tmp_path.rglob("*") if f.is_file()}
    assert found == {str(n): f"grain {n}\n" for n in range(TASKS)}
    accepted = "SELECT count(*) FROM tasks_attempt WHERE state = 'complete' AND NOT superseded"
    until(lambda: query("SELECT count(*) FROM tasks_attempt WHERE live") == [(0,)])
    assert query(accepted) == [(TASKS,)]
    unbooked = (
        "SELECT count(*) FROM tasks_attempt a LEFT JOIN ledger_usagerecord u ON u.attempt_id = a.id "
        "WHERE a.state = 'complete' AND u.id IS NULL"
    )
    assert query(unbooked) == [(0,)]
