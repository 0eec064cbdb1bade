"""The same work by hand: job arrays, packed, dealt to the clusters by their cores."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from bench.slurm.stage import Cluster, wait


def shares(count: int, weights: Sequence[int]) -> list[int]:
    """Whole parts of a count in proportion to weights; they sum to it."""
    total, done, found = sum(weights), 0, []
    for index in range(len(weights)):
        upto = count * sum(weights[: index + 1]) // total
        found.append(upto - done)
        done = upto
    return found


def split(over: Sequence[Cluster], command: str, count: int, folder: Path) -> float:
    """Seconds for `count` commands over all clusters: on each an array, an element of it to a node.

    Nodes of a partition are alike, so an element takes one whole, and runs its part with as many at once
    as the node has cores. The last act of an element is a file in `folder`, which is how the end is seen.
    """
    nodes = {cluster: cluster.cores() for cluster in over}
    parts = iter(shares(count, [cores for each in nodes.values() for cores in each]))
    scripts = {
        cluster: _script(command, [next(parts) for _ in each], each[0], folder / cluster.name)
        for cluster, each in nodes.items()
    }
    elements = sum(map(len, nodes.values()))
    began = time.perf_counter()
    for cluster, each in nodes.items():
        cluster.sbatch(scripts[cluster], f"--array=0-{len(each) - 1}", "-c", str(each[0]))
    wait(lambda: len(list(folder.iterdir())) == elements, 0.02)
    return time.perf_counter() - began


def _script(command: str, parts: Sequence[int], cores: int, mark: Path) -> str:
    return (
        "#!/bin/bash\n"
        f"parts=({' '.join(map(str, parts))})\n"
        f"seq ${{parts[SLURM_ARRAY_TASK_ID]}} | xargs -P {cores} -I{{}} {command}\n"
        f"touch {mark}-$SLURM_ARRAY_TASK_ID\n"
    )


def start_of_one(cluster: Cluster, folder: Path) -> float:
    """Seconds from `sbatch` to the first act of the job."""
    mark = folder / "start"
    began = time.time()
    cluster.sbatch(f"#!/bin/sh\ndate +%s.%N > {mark}.part && mv {mark}.part {mark}\n")
    wait(mark.exists, 0.02)
    started = float(mark.read_text())
    mark.unlink()
    return started - began
