"""What the hub costs for one task, its creation apart: agents without sites, in one process with the hub.

    python -m bench.hub_cycle [--tasks 5000] [--sites 3] [--profile]

Prints the CPU time of the broker's cycles and of the syncs for each task, and the time of one request
with 1,000 reports. The database is in a temporary folder (SQLite), or AYNI_DATABASE_URL.
"""

from __future__ import annotations

import argparse
import cProfile
import os
import pstats
import shutil
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any


class FastAgent:
    """Runs every task at once, and speaks as an agent does: JSON over the view, no socket."""

    def __init__(self, name: str, key: str, cores: int, depth: int) -> None:
        from ayni.protocol.exchange import AgentSide
        from ayni.protocol.messages import PartitionStatus, SiteStatus
        from ayni.protocol.policy import Policy

        self.side = AgentSide(f"journal-{name}", 1, f"session-{name}")
        self.key = key
        self.seq = 0
        self.reports: list[Any] = []
        self.running: list[str] = []
        self.status = SiteStatus(
            agent_version="1",
            policy=Policy(),
            partitions=[
                PartitionStatus(
                    name="local", cores_per_node=cores, memory_per_node=1 << 50, max_walltime=86400,
                    cores=cores, memory=1 << 50, depth=depth,
                )
            ],
        )  # fmt: skip

    def request(self) -> bytes:
        made = self.side.request(
            self.reports,
            self.seq,
            complete=True,
            status=lambda: self.status,
            inventory=lambda: list(self.running),
        )
        return made.model_dump_json().encode()

    def hear(self, body: bytes) -> None:
        from ayni.protocol.messages import SyncReply

        reply = SyncReply.model_validate_json(body)
        assert self.side.hear(reply)
        self.reports = [r for r in self.reports if r.seq > reply.acknowledged]
        for attempt in self.running:
            self.say(attempt, "complete", ended=True)
        self.running = [a.attempt for a in reply.assignments]
        for attempt in self.running:
            self.say(attempt, "running", ended=False)

    def end_all(self) -> None:
        for attempt in self.running:
            self.say(attempt, "complete", ended=True)
        self.running = []

    def say(self, attempt: str, state: str, *, ended: bool) -> None:
        from ayni.protocol.attempts import AttemptState
        from ayni.protocol.messages import CommandReport, LogReport, Report, UsageReport

        self.seq += 1
        now = time.time()
        end: dict[str, Any] = {}
        if ended:
            end = {
                "ended": now,
                "commands": [CommandReport(exit_code=0, started=now, ended=now)],
                "logs": [
                    LogReport(command=0, stream=s, size=0, tail="") for s in ("stdout", "stderr")
                ],
                "usage": UsageReport(job="1", cores=1, wall=0.01, cpu=0.01, peak_memory=1 << 20),
            }
        self.reports.append(
            Report(
                attempt=attempt, seq=self.seq, state=AttemptState(state), accepted=now, started=now,
                host="node", **end,
            )
        )  # fmt: skip


def create(seeded: Any, count: int) -> None:
    from ayni.hub.tasks.create import create_array
    from ayni.hub.tasks.requests import NewArray

    document = {"task": {"executors": [{"image": "host", "command": ["true"]}]}, "count": count}
    from ayni.hub.accounts.models import Token
    from ayni.hub.accounts.tokens import SCOPES, Caller

    who = Caller(
        Token.objects.filter(person=seeded.person).first(),
        seeded.person,
        seeded.project,
        frozenset(SCOPES),
    )
    create_array(who, NewArray.model_validate(document))


def measure(count: int, sites: int, depth: int) -> dict[str, float]:
    from django.test import Client

    from ayni.hub.network.cycle import Broker
    from ayni.hub.seed import seed
    from ayni.hub.tasks.life import TaskState
    from ayni.hub.tasks.models import Task

    seeded = seed(sites)
    agents = [FastAgent(s.name, seeded.site_keys[s.name], 2, depth) for s in seeded.sites]
    client, broker = Client(), Broker()
    cpu: dict[str, float] = defaultdict(float)
    calls: dict[str, int] = defaultdict(int)

    def sync(agent: FastAgent) -> None:
        body = agent.request()
        begin = time.process_time()
        answer = client.post(
            "/agent/v1/sync",
            body,
            content_type="application/json",
            headers={"Authorization": f"Bearer {agent.key}"},
        )
        cpu["sync"] += time.process_time() - begin
        calls["sync"] += 1
        assert answer.status_code == 200, answer.content
        agent.hear(answer.content)

    for agent in agents:
        sync(agent)
    create(seeded, count)
    while Task.objects.filter(state=TaskState.COMPLETE.value).count() < count:
        begin = time.process_time()
        broker.cycle()
        cpu["cycle"] += time.process_time() - begin
        calls["cycle"] += 1
        for agent in agents:
            sync(agent)
    return {
        "tasks": count,
        "cycles": calls["cycle"],
        "syncs": calls["sync"],
        "cycle_ms_a_task": 1000 * cpu["cycle"] / count,
        "sync_ms_a_task": 1000 * cpu["sync"] / count,
        "ms_a_task": 1000 * (cpu["cycle"] + cpu["sync"]) / count,
        "cycle_ms": 1000 * cpu["cycle"] / calls["cycle"],
    }


def large_request() -> float:
    """Milliseconds of one sync with 1,000 reports: each ends its task."""
    from ayni.hub.network.cycle import Broker
    from ayni.hub.network.models import Site
    from ayni.hub.network.talk import sync
    from ayni.hub.seed import seed
    from ayni.protocol.messages import SyncRequest

    seeded = seed()
    site = seeded.sites[0]
    agent = FastAgent("large", seeded.site_keys[site.name], 2000, 0)
    agent.side.incarnation = f"journal-{site.name}"
    agent.side.generation = 2

    def ask() -> float:
        body = agent.request()
        begin = time.perf_counter()
        answer = sync(site.pk, SyncRequest.model_validate_json(body)).reply.model_dump_json()
        took = time.perf_counter() - begin
        agent.hear(answer.encode())
        return 1000 * took

    ask()
    Site.objects.exclude(pk=site.pk).update(draining=True)
    create(seeded, 1000)
    Broker().cycle()
    Site.objects.update(draining=False)
    ask()  # assigned
    agent.reports = []  # nothing is told until they have ended
    agent.end_all()
    assert len(agent.reports) == 1000
    return ask()


def queued_cycle(queued: int) -> float:
    """Milliseconds of a cycle that finds no room, with so many tasks queued."""
    from ayni.hub.network.cycle import Broker
    from ayni.hub.seed import seed

    create(seed(), queued)
    broker = Broker()
    broker.cycle()
    begin = time.perf_counter()
    broker.cycle()
    return 1000 * (time.perf_counter() - begin)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=5000)
    parser.add_argument("--sites", type=int, default=3)
    parser.add_argument("--depth", type=int, default=30)
    parser.add_argument("--queued", type=int, default=100_000)
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    state = Path(tempfile.mkdtemp(prefix="ayni-bench-"))
    os.environ["AYNI_HUB_STATE"] = str(state)
    os.environ["DJANGO_SETTINGS_MODULE"] = "ayni.hub.settings"
    os.environ["AYNI_LOG_LEVEL"] = "WARNING"
    try:
        import django

        django.setup()
        from django.core.management import call_command
        from django.test.utils import setup_test_environment

        setup_test_environment()
        call_command("migrate", verbosity=0)
        profile = cProfile.Profile()
        if options.profile:
            profile.enable()
        for name, value in measure(options.tasks, options.sites, options.depth).items():
            print(f"= hub, {name}: {value:.3f}")
        if options.profile:
            profile.disable()
            pstats.Stats(profile).sort_stats("cumulative").print_stats(60)
        print(f"= hub, 1000_reports_ms: {large_request():.1f}")
        print(
            f"= hub, queued_cycle_ms: {queued_cycle(options.queued):.1f} ({options.queued} queued)"
        )
    finally:
        shutil.rmtree(state, ignore_errors=True)


if __name__ == "__main__":
    main()
