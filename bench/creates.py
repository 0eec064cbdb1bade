"""Single TES creates a second over HTTP, authenticated and durably committed; tasks a second by an array.

    python -m bench.creates [--tasks 3000] [--connections 8] [--array 100000]

Client and hub share the machine. Bodies are 2 KB with two tags and an input from the project's files.
"""

from __future__ import annotations

import argparse
import json
import statistics
import threading
import time
from collections.abc import Callable

from bench import hub as bench_hub

TES = "/ga4gh/tes/v1/tasks"


def document(number: int) -> dict[str, object]:
    """A task of about 2 KB."""
    return {
        "name": f"bench-{number:06d}",
        "tags": {"kind": "bench", "batch": str(number % 100)},
        "inputs": [{"path": "/in/a.txt", "url": "ayni://bench/in/a.txt"}],
        "outputs": [{"path": "/out/b.txt", "url": f"ayni://bench/out/{number}.txt"}],
        "executors": [{"image": "host", "command": ["sh", "-c", "true # " + "x" * 1600]}],
        "resources": {"cpu_cores": 1, "ram_gb": 2.0},
    }


def creates(hub: bench_hub.Hub, count: int, connections: int) -> tuple[float, list[float]]:
    """Creates a second, and each one's seconds."""
    bodies = [json.dumps(document(n)).encode() for n in range(count)]
    seconds: list[float] = []

    def work(mine: list[bytes]) -> None:
        connection = hub.connect()
        for body in mine:
            begin = time.perf_counter()
            connection.request("POST", TES, body, hub.headers)
            answer = connection.getresponse()
            text = answer.read()
            if answer.status != 200:
                raise RuntimeError(f"{answer.status}: {text!r}")
            seconds.append(time.perf_counter() - begin)
        connection.close()

    took = _together([lambda m=bodies[i::connections]: work(m) for i in range(connections)])
    if len(seconds) != count:
        raise RuntimeError("some creates failed")
    return count / took, seconds


def array(hub: bench_hub.Hub, count: int) -> float:
    """Tasks a second by one array with a parameter and two tags to a task."""
    template = {
        "name": "array {{index}}",
        "tags": {"kind": "bench", "part": "{{part}}"},
        "executors": [{"image": "host", "command": ["sh", "-c", "echo {{part}}"]}],
    }
    asked = {"task": template, "parameters": [{"part": f"p{n}"} for n in range(count)]}
    body = json.dumps(asked).encode()
    connection = hub.connect()
    begin = time.perf_counter()
    connection.request("POST", "/api/v1/arrays", body, hub.headers)
    answer = connection.getresponse()
    text = answer.read()
    took = time.perf_counter() - begin
    if answer.status != 201:
        raise RuntimeError(f"{answer.status}: {text!r}")
    return count / took


def _together(parts: list[Callable[[], None]]) -> float:
    threads = [threading.Thread(target=part) for part in parts]
    begin = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=3000)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--array", type=int, default=100_000)
    options = parser.parse_args()
    with bench_hub.state():
        who = bench_hub.people()
        with bench_hub.serving(*who) as hub:
            creates(hub, 200, options.connections)
            rate, seconds = creates(hub, options.tasks, options.connections)
            cuts = statistics.quantiles(seconds, n=100)
            print(f"= single TES creates: {rate:.0f}/s over {options.connections} connections, "
                  f"p50 {cuts[49] * 1e3:.1f} ms, p99 {cuts[98] * 1e3:.1f} ms (goal: 300/s)")  # fmt: skip
            rate = array(hub, options.array)
            print(f"= an array of {options.array}: {rate:.0f} tasks/s (goal: 20,000/s)")


if __name__ == "__main__":
    main()
