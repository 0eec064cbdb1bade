"""The ranks of a site on one node: `python -m ayni.lm.node …`, with the arguments of `ayni.lm.site`.

What torchrun does, but for a task: the ranks meet in a folder of the attempt, a node that cannot be
reached from outside is enough, and the scheduler's warning is handed on instead of died of.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType

from ayni.errors import UserError
from ayni.lm.config import load
from ayni.lm.inner.progress import GO_ON
from ayni.terminal import one_line

_LOOK = 0.2  # seconds
_LAST_WORDS = 75.0  # seconds, after a rank failed, for the first one to tell the run
_GRACE = 10.0  # seconds, between being told to end and being ended


def run(command: Sequence[str], *, ranks: int, nodes: int = 1) -> int:
    """Start this node's ranks of a command, and wait for all; one that fails ends the others.

    Each finds RANK, WORLD_SIZE, LOCAL_RANK and LOCAL_WORLD_SIZE in its environment, and behind its
    arguments `--meeting FOLDER`.

    Args:
        ranks: on each node.
        nodes: srun has started this once on each of them.

    Returns:
        The exit code: of the first that failed, or 75 where a successor is asked for.
    """
    node = int(os.environ.get("SLURM_NODEID", "0")) if nodes > 1 else 0
    whole = [*command, "--meeting", str(_meeting(nodes))]
    # ignored, and so by the ranks too, until each of them listens
    before = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    running: list[subprocess.Popen[bytes]] = []

    def warn(number: int, _: FrameType | None) -> None:
        for one in running:
            if one.poll() is None:
                one.send_signal(number)

    try:
        for local in range(ranks):
            env = os.environ | _places(local, ranks, node, nodes)
            running.append(subprocess.Popen(whole, env=env))
        signal.signal(signal.SIGUSR1, warn)
        return _ended(running, node == 0)
    finally:
        _end(running)
        signal.signal(signal.SIGUSR1, before)


def _meeting(nodes: int) -> Path:
    """A folder of this attempt that all ranks see, and that none before them used."""
    if nodes == 1:
        return Path(tempfile.mkdtemp(prefix="meeting-", dir=Path.cwd()))
    step = "-".join(os.environ.get(f"SLURM_{name}", "0") for name in ("JOB_ID", "STEP_ID"))
    folder = Path.cwd() / f"meeting-{step}"
    folder.mkdir(exist_ok=True)
    return folder


def _places(local: int, ranks: int, node: int, nodes: int) -> Mapping[str, str]:
    found = {
        "RANK": str(node * ranks + local),
        "WORLD_SIZE": str(nodes * ranks),
        "LOCAL_RANK": str(local),
        "LOCAL_WORLD_SIZE": str(ranks),
    }
    cores = os.environ.get("OMP_NUM_THREADS", "")
    threads = int(cores) if cores.isdigit() else len(os.sched_getaffinity(0))
    found["OMP_NUM_THREADS"] = str(max(1, threads // ranks))
    if nodes == 1:  # a sandbox without a network has a loopback
        found |= {"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo"}
    return found


def _ended(running: Sequence[subprocess.Popen[bytes]], first: bool) -> int:
    """The exit code of all; `first`: the site's first rank is the first of these, and speaks for it."""
    end: float | None = None
    while True:
        codes = [one.poll() for one in running]
        failed = next((code for code in codes if code not in (None, 0, GO_ON)), None)
        if failed is not None and end is None:
            end = time.monotonic() + _LAST_WORDS
        spoken = first and codes[0] is not None
        if failed is not None and (spoken or None not in codes or time.monotonic() > (end or 0)):
            return failed if failed > 0 else 128 - failed
        if None not in codes:
            return max(code for code in codes if code is not None)
        time.sleep(_LOOK)


def _end(running: Sequence[subprocess.Popen[bytes]]) -> None:
    for one in running:
        if one.poll() is None:
            one.terminate()
    end = time.monotonic() + _GRACE
    for one in running:
        try:
            one.wait(max(0.0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            one.kill()
            one.wait()


def main(arguments: Sequence[str] | None = None) -> int:
    """All ranks of a site on this node; exit code 75 asks for a successor."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        name = given[given.index("--site") + 1]
        site = load(Path(given[0])).at(name)
    except (UserError, ValueError, IndexError) as error:
        print(one_line(f"ayni.lm.node RUN --site SITE …: {error}"), file=sys.stderr)
        return 2
    command = [sys.executable, "-m", "ayni.lm.site", *given]
    return run(command, ranks=site.ranks_a_node, nodes=site.nodes)


def _told(number: int, _: FrameType | None) -> None:
    sys.exit(128 + number)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _told)
    sys.exit(main())
