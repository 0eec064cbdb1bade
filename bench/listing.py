"""Listing with a million tasks stored, over HTTP: a published mix of queries on a project of 100,000.

    python -m bench.listing [--tasks 1000000] [--project 100000] [--queries 1000]

Every task has a document of about 2 KB and two tags; a tenth is of an array, a fifth has been tried.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import random
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlencode

from bench import hub as bench_hub

PART = 20_000
STATES = (  # as in a project that has been at work: most have ended
    ("COMPLETE", 0.85), ("EXECUTOR_ERROR", 0.05), ("CANCELED", 0.02), ("SYSTEM_ERROR", 0.005),
    ("RUNNING", 0.005), ("PLACED", 0.01), ("QUEUED", 0.06),
)  # fmt: skip
STAGES = ("align", "assemble", "profile", "render")
DOCUMENT = {
    "name": "",
    "inputs": [{"path": "/in/a.txt", "url": "ayni://bench/in/a.txt", "type": "FILE"}],
    "outputs": [{"path": "/out/b.txt", "url": "ayni://bench/out/b.txt", "type": "FILE"}],
    "executors": [{"image": "host", "command": ["sh", "-c", "true # " + "x" * 1700]}],
    "resources": {"cpu_cores": 1, "ram_gb": 2.0},
}


def fill(project: int, person: int, count: int, site: int) -> None:
    """Rows as the hub would have made them, without its checks."""
    from django.db import transaction
    from django.utils import timezone

    from ayni.hub.tasks import ids, rows
    from ayni.hub.tasks.life import TaskState
    from ayni.hub.tasks.models import Attempt, Group
    from ayni.tes.shape import Shape

    group = Group.objects.create(
        project_id=project, person_id=person, key="0" * 64, shape=Shape(("host",)).to_json()
    )
    now = timezone.now()
    moment = rows.moment(now)
    text = json.dumps(DOCUMENT)
    draw = random.Random(project)
    for begin in range(0, count, PART):
        numbers = range(begin, min(begin + PART, count))
        first = ids.new(2 * PART)
        states = draw.choices([s for s, _ in STATES], [w for _, w in STATES], k=len(numbers))
        with transaction.atomic():
            rows.insert("tasks_task", rows.TASK, [
                (first + n - begin, project, person, group.pk, None, None, None, _name(n),
                 TaskState[state].value, 1, 0, None, moment, moment)
                for n, state in zip(numbers, states, strict=True)
            ], len(numbers))  # fmt: skip
            rows.insert("tasks_taskbody", rows.BODY,
                        [(first + n - begin, text) for n in numbers], len(numbers))  # fmt: skip
            rows.insert("tasks_tasktag", rows.TAG, [
                (first + n - begin, project, key, value)
                for n in numbers
                for key, value in (("stage", STAGES[n % 4]), ("sample", str(n // 40)))
            ], 2 * len(numbers))  # fmt: skip
            Attempt.objects.bulk_create(
                Attempt(id=first + PART + n - begin, task_id=first + n - begin, number=1,
                        site_id=site, partition="main", state="complete", live=False,
                        assigned=now, started=now, ended=now, report=_report())
                for n in numbers if n % 5 == 0
            )  # fmt: skip


def _name(number: int) -> str:
    return f"{STAGES[number % 4]}-{number:07d}"


def _report() -> dict[str, Any]:
    return {
        "host": "node1",
        "commands": [{"exit_code": 0, "started": 1.0, "ended": 2.0}],
        "logs": [{"command": 0, "stream": "stdout", "size": 500, "tail": "x" * 500}],
        "outputs": [],
        "system_log": [],
    }


def mix(count: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """The queries: what they are called, and their parameters."""
    draw = random.Random(7)
    sample, stage = (lambda: str(draw.randrange(count // 40))), (lambda: draw.choice(STAGES))
    kinds: dict[str, Callable[[], dict[str, Any]]] = {
        "all, MINIMAL": dict,
        "all, BASIC": lambda: {"view": "BASIC"},
        "all, FULL": lambda: {"view": "FULL"},
        "all, FULL, 20 a page": lambda: {"view": "FULL", "page_size": 20},
        "state RUNNING": lambda: {"state": "RUNNING", "view": "BASIC"},
        "state QUEUED": lambda: {"state": "QUEUED"},
        "state COMPLETE": lambda: {"state": "COMPLETE", "view": "BASIC"},
        "narrow prefix": lambda: {"name_prefix": _name(draw.randrange(count))[:-2]},
        "wide prefix": lambda: {"name_prefix": stage(), "view": "BASIC"},
        "wide prefix, rare state": lambda: {"name_prefix": stage(), "state": "SYSTEM_ERROR"},
        "wide prefix, common state": lambda: {"name_prefix": stage(), "state": "COMPLETE"},
        "rare tag": lambda: {"tag_key": "sample", "tag_value": sample(), "view": "FULL"},
        "common tag": lambda: {"tag_key": "stage", "tag_value": stage(), "view": "BASIC"},
        "tag with any value": lambda: {"tag_key": "sample"},
        "common tag, rare state": lambda: {
            "tag_key": "stage", "tag_value": stage(), "state": "SYSTEM_ERROR",
        },
        "common tag, common state": lambda: {
            "tag_key": "stage", "tag_value": stage(), "state": "COMPLETE",
        },
        "two tags": lambda: {
            "tag_key": ["stage", "sample"], "tag_value": [stage(), sample()], "view": "BASIC",
        },
        "tag and a prefix that exclude each other": lambda: {
            "tag_key": "stage", "tag_value": "align", "name_prefix": "render",
        },
    }  # fmt: skip
    for name in itertools.cycle(kinds):
        yield name, kinds[name]()


def ask(hub: bench_hub.Hub, queries: int, count: int) -> dict[str, list[float]]:
    """Seconds of each query by its kind. Each is followed by its next page now and then."""
    seconds: dict[str, list[float]] = defaultdict(list)
    connection = hub.connect()
    for number, (name, parameters) in enumerate(itertools.islice(mix(count), queries)):
        answer = _get(connection, hub, parameters, seconds[name])
        if number % 3 == 0 and (token := answer.get("next_page_token")):
            following = {**parameters, "page_token": token}
            _get(connection, hub, following, seconds[f"{name}, next page"])
    connection.close()
    return seconds


def _get(
    connection: http.client.HTTPConnection,
    hub: bench_hub.Hub,
    parameters: dict[str, Any],
    seconds: list[float],
) -> dict[str, Any]:
    path = f"/ga4gh/tes/v1/tasks?{urlencode(parameters, doseq=True)}"
    begin = time.perf_counter()
    connection.request("GET", path, headers=hub.headers)
    response = connection.getresponse()
    body = response.read()
    seconds.append(time.perf_counter() - begin)
    if response.status != 200:
        raise RuntimeError(f"{path}: {response.status} {body[:200]!r}")
    answer: dict[str, Any] = json.loads(body)
    return answer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=1_000_000)
    parser.add_argument("--project", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=1000)
    options = parser.parse_args()
    with bench_hub.state():
        who = bench_hub.people()
        from ayni.hub.accounts.models import Institution
        from ayni.hub.network.models import Site

        at = Institution.objects.get()
        site = Site.objects.create(name="site", title="site", institution=at).pk
        begin = time.perf_counter()
        fill(who[1], who[2], options.project, site)
        for number in range(max(0, options.tasks // options.project - 1)):
            _, project, person = bench_hub.people(f"other{number}")
            fill(project, person, options.project, site)
        print(f"{options.tasks} tasks stored in {time.perf_counter() - begin:.0f} s")
        with bench_hub.serving(*who) as hub:
            ask(hub, 40, options.project)
            report(ask(hub, options.queries, options.project))


def report(seconds: dict[str, list[float]]) -> None:
    for name, some in sorted(seconds.items(), key=lambda item: -max(item[1])):
        print(f"{name:55s} median {statistics.median(some) * 1e3:7.1f} ms  "
              f"worst {max(some) * 1e3:7.1f} ms  ({len(some)})")  # fmt: skip
    every = [s for some in seconds.values() for s in some]
    p95 = statistics.quantiles(every, n=20)[-1]
    print(
        f"= listing a million: p95 {p95 * 1e3:.1f} ms (goal: 50), worst {max(every) * 1e3:.1f} ms (goal: 500)"
    )


if __name__ == "__main__":
    main()
