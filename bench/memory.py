"""Memory of the hub's and the agents' processes while tasks end: it must not grow with their number.

    python -m bench.memory [--batch 1000] [--batches 30]

Batches of `true` go through the whole network. After each, once all is quiet, the anonymous memory of
every process is read: what the database's pages in the system's cache take is not counted, since the
system takes it back. The first two thirds of the batches warm up: every connection to a database has
a cache of a few MiB that must fill once. Growth is counted over the last third.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from pathlib import Path

from ayni.agent.supervisor.processes import tree
from ayni.demo.stage import marked
from bench.network import Measured

QUIET = 3.0  # seconds after a batch for what is done in the background
PARTS = ("hub", "file server", "agents", "spawners")


def anonymous(pid: int) -> int:
    """Bytes of a process that no file stands behind."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Anonymous:"):
            return int(line.split()[1]) << 10
    raise RuntimeError(f"the kernel does not tell the memory of process {pid}")


def with_children(pid: int) -> list[int]:
    """A process and all that descend from it."""
    return [pid, *tree(pid).pids]


def words(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()


def processes(measured: Measured) -> dict[str, list[int]]:
    """The process ids of each part. Spawners are no children of the agents: they outlive them."""
    found = defaultdict(list)
    hub = measured.stage.hub.popen
    assert hub is not None
    for pid in with_children(hub.pid):
        found["file server" if "fileserver" in words(pid) else "hub"].append(pid)
    for site in measured.stage.sites.values():
        assert site.popen is not None
        found["agents"] += with_children(site.popen.pid)
    found["spawners"] = [p for p in marked(measured.folder) if "spawner" in words(p)]
    return found


def look(parts: dict[str, list[int]]) -> dict[str, int]:
    return {name: sum(map(anonymous, pids)) for name, pids in parts.items()}


def figure(name: str, seen: list[int], batch: int) -> str:
    """One part's growth over the last third."""
    warm = (len(seen) - 1) * 2 // 3
    first, last = seen[warm], seen[-1]
    growth = (last - first) / 1024 / (len(seen) - 1 - warm) * 1000 / batch
    return (
        f"= memory, {name}: {growth:+.0f} KiB per 1,000 ended tasks "
        f"({first / 2**20:.1f} to {last / 2**20:.1f} MiB, ratio {last / first:.3f})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=1000, help="tasks in a batch")
    parser.add_argument("--batches", type=int, default=30, help="at least two")
    options = parser.parse_args()
    if options.batches < 2:
        parser.error("--batches: at least 2, of which the first two thirds warm up")
    seen: dict[str, list[int]] = {name: [] for name in PARTS}
    measured = Measured()
    try:
        for n in range(options.batches):
            measured.through_the_network(options.batch)
            time.sleep(QUIET)
            found = look(processes(measured))
            for name in PARTS:
                seen[name].append(found[name])
            told = ", ".join(f"{name} {found[name] / 2**20:.1f}" for name in PARTS)
            print(f"after {(n + 1) * options.batch} tasks, MiB: {told}", flush=True)
    finally:
        measured.close()
    for name in PARTS:
        print(figure(name, seen[name], options.batch))


if __name__ == "__main__":
    main()
