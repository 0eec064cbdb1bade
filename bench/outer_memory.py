"""The memory of a merge: blocks of 16 MiB times sites, whatever the model's size.

    python -m bench.outer_memory [--values N] [--sites N …] [--folder DIR]

Each line is a process of its own, in which the sites' contributions (4 bits, in a folder) are read once for
their norms and once to be merged, encoded and applied. The peak is the kernel's (`ru_maxrss`).
"""

from __future__ import annotations

import argparse
import json
import string
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

from bench.outer import Merging, merging


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--values", type=int, default=1_000_000_000)
    parser.add_argument("--sites", type=int, nargs="+", default=[3, 6, 12])
    parser.add_argument(
        "--folder", type=Path, default=Path(), help="16 GB for a billion and 12 sites"
    )
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.alone:
        found = merging(given.values, string.ascii_letters[: given.sites[0]], given.folder)
        print(json.dumps(asdict(found)))
        return
    for sites in given.sites:
        found = apart(given.values, sites, given.folder)
        print(
            f"= memory of a merge, {sites} sites, {given.values / 1e6:.0f}M values: "
            f"{found.after:.0f} MiB in all, +{found.after - found.before:.0f} MiB while it merges "
            f"({(found.after - found.before) / sites / 16:.1f} blocks of 16 MiB a site), "
            f"{found.seconds:.0f} s (under 2,048 MiB wanted)",
            flush=True,
        )


def apart(values: int, sites: int, folder: Path) -> Merging:
    """A merge in a process of its own: a peak never falls again."""
    command = [sys.executable, "-m", "bench.outer_memory", "--alone", "--values", str(values)]
    command += ["--sites", str(sites), "--folder", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return Merging(**json.loads(done.stdout))


if __name__ == "__main__":
    main()
