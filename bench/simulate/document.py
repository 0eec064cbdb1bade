"""Sections of `docs/performance.md` that hold simulations: each is written by a run of its own.

`python -m bench --write` rewrites the rest of that file and keeps these.
"""

from __future__ import annotations

import re
import time
from pathlib import Path

from bench.simulate import report
from bench.simulate.metrics import Figures

SECTION = re.compile(r"<!-- simulation: (\S+) -->\n.*?<!-- end of \1 -->\n", re.DOTALL)
ABOUT = """## Simulations

The real broker and, for *ours*, the real protocol between hub and sites, over simulated sites under
a simulated clock. A site's partitions schedule first come, first served, with EASY backfill; a task
uses cores, memory and GPUs of the whole partition (nodes are not told apart), and its inputs cost
nothing to move. Broker cycles are further apart than the hub's (1 to 15 simulated seconds), which
*ours* pays for with as much waiting. Sites want as many tasks waiting as real agents do. *Ours* serves
projects by their decayed usage, the others tasks in the order of submission: who sends much waits
for those who send little, and a mean over tasks counts that against it.

* **home**: every task at its home. **random**: at a random site that is large enough. **list**: one
  list for all sites, gone through whenever something is free, with the true run times in place of
  limits.
* *Slowdown* is bounded (10 s): waiting and run time over run time, mean over tasks. *Jain* is Jain's
  index over the members' mean bounded slowdowns: 1 where all fare alike. *Of the bound*: the last
  end over the larger of the area bound and the longest-job bound. *Abroad*: the share of core
  seconds not run at its home. *Home over ours*: how many times smaller a member's slowdown is.
* Users of a log are dealt to the sites as cards are, in the order of their first tasks; a log of
  several partitions makes a site of each, and a user's home is where most of the user's tasks went.
  Submissions are moved together or apart by one factor until the sites are loaded as the run says.
"""


def put(path: Path, name: str, text: str) -> None:
    """Write one section into a document: in the place of the one of that name, or at the end."""
    old = path.read_text() if path.exists() else ""
    sections = {match[1]: match[0] for match in SECTION.finditer(old)}
    for part, words in (("about", ABOUT), (name, text)):
        sections[part] = f"<!-- simulation: {part} -->\n{words.rstrip()}\n<!-- end of {part} -->\n"
    rest = SECTION.sub("", old).rstrip()
    order = sorted(sections, key=lambda part: (part != "about", part))
    path.write_text("\n".join([f"{rest}\n" if rest else "", *(sections[part] for part in order)]))


def kept(path: Path) -> str:
    """All such sections of a document, to be written again."""
    old = path.read_text() if path.exists() else ""
    return "\n".join(match[0] for match in SECTION.finditer(old))


def section(
    what: str,
    command: str,
    where: str,
    chart: str,
    found: dict[str, Figures],
    took: dict[str, float],
    bound: float,
) -> str:
    rows = [report.row(policy, f, bound, took[policy]) for policy, f in found.items()]
    parts = [
        f"### {what}",
        f"`{command}`, {time.strftime('%Y-%m-%d')}, {where}.",
        markdown(report.COLUMNS, rows),
        f"![Waits and slowdowns under each policy, and of each member]({chart})",
        markdown(*report.member_rows(found)),
    ]
    return "\n\n".join(parts) + "\n"


def markdown(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" if n == 0 else "---:" for n in range(len(head))), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
