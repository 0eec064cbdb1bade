"""`make bench`: every benchmark in turn, and one table of what was wanted and what was measured.

    python -m bench [NAME …] [--write docs/performance.md]

A benchmark prints its figures as lines `= what: figure (wanted)`; those lines are the table.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from bench.simulate.document import kept

NAMES = (
    "executor",
    "creates",
    "listing",
    "network",
    "memory",
    "hub_cycle",
    "store",
    "outer",
    "outer_memory",
    "outer_exchange",
    "outer_bytes",
    "outer_clock",
    "simulate",
    "joint_model",
    "corpus",
    "slurm",
    "gpu",
)
ASKED = {"gpu"}  # run only where it is named
HEAD = """# Performance

Claims are ratios or rates measured side by side in one run of a benchmark, on the machine named with it.
Machines are noisy: tests never assert on times, and a figure here is worth what its run is worth.

Written by `python -m bench --write docs/performance.md`; benchmarks that were not run keep what they had.
"""
RUN = re.compile(r"### `python -m bench\.(\w+)`\n\n(.*?)\n\n```\n(.*?)\n```\n", re.DOTALL)


@dataclass(frozen=True)
class Run:
    """What a benchmark printed; `where`: when, on which machine, for how long."""

    name: str
    where: str
    output: str

    @property
    def command(self) -> str:
        return f"python -m bench.{self.name}"

    def figures(self) -> list[tuple[str, str]]:
        lines = [line[2:] for line in self.output.splitlines() if line.startswith("= ")]
        return [(what, rest.strip()) for what, _, rest in (line.partition(": ") for line in lines)]


def run(name: str) -> Run:
    """One benchmark, its output shown as it comes."""
    where = machine()
    command = [sys.executable, "-u", "-m", f"bench.{name}"]
    print(f"\n== {name}", flush=True)
    began = time.perf_counter()
    lines = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            lines.append(line)
    if process.returncode:
        raise SystemExit(f"bench.{name} failed with exit code {process.returncode}")
    took = f"{time.perf_counter() - began:.0f} s"
    return Run(name, f"{time.strftime('%Y-%m-%d')}, {where}, {took}.", "".join(lines).rstrip())


def machine() -> str:
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    load = f"load {os.getloadavg()[0]:.1f} at the start"
    return f"{os.cpu_count()} cores ({model}), Python {platform.python_version()}, {load}"


def table(runs: list[Run]) -> str:
    rows = ["| what | figure | from |", "|---|---|---|"]
    rows += [f"| {what} | {figure} | `{r.command}` |" for r in runs for what, figure in r.figures()]
    return "\n".join(rows)


def document(runs: list[Run], before: str, simulations: str) -> str:
    """The whole text: these runs, and those of an earlier text that are not among them."""
    found = {match[1]: Run(match[1], match[2], match[3]) for match in RUN.finditer(before)}
    found |= {r.name: r for r in runs}
    told = [found[name] for name in NAMES if name in found]
    parts = [HEAD, table(told), "\n## The runs\n"]
    for r in told:
        parts.append(f"### `{r.command}`\n\n{r.where}\n\n```\n{r.output}\n```\n")
    return "\n".join([*parts, simulations])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}")
    parser.add_argument("--write", type=Path, help="write the table and the runs into this file")
    options = parser.parse_args()
    if unknown := set(options.names) - set(NAMES):
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    runs = [run(name) for name in options.names or NAMES if options.names or name not in ASKED]
    print("\n" + table(runs))
    if options.write:
        before = options.write.read_text() if options.write.exists() else ""
        options.write.write_text(document(runs, before, kept(options.write)))


if __name__ == "__main__":
    main()
