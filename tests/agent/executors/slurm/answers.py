"""What the clusters said (`recorded/`), in the columns that our commands ask for; and junk."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from hypothesis import strategies as st

from ayni.agent.executors.slurm import parse

RECORDED = Path(__file__).parent / "recorded"
#: The columns of the recorded answers: see the README beside them.
_SQUEUE = "%i %A %F %K %T %r %P %u %a %q %j %S %V %e %l %N %D %C %m %b"
_SACCT = """
JobID JobIDRaw JobName State ExitCode DerivedExitCode Reason Submit Eligible Start End ElapsedRaw TimelimitRaw
AllocCPUS AllocNodes NodeList ReqMem MaxRSS TotalCPU AllocTRES TRESUsageInTot Partition Account QOS User
Cluster Constraints
"""
#: Half of the characters mean something to the parsers.
JUNK = st.text(st.sampled_from("0123456789.-:|=,+ KMGT_[]%²\n") | st.characters(), max_size=60)


def text(name: str) -> str:
    return (RECORDED / f"{name}.txt").read_text()


def names(prefix: str) -> list[str]:
    """The recorded answers of one command, without those of servers that were down."""
    found = sorted(path.stem for path in RECORDED.glob(f"{prefix}-*.txt"))
    return [name for name in found if "error" not in text(name).partition("\n")[0]]


def squeue(name: str) -> str:
    return _columns(text(name), _SQUEUE.split(), "%j", parse.SQUEUE.split("|"))


def sacct(name: str) -> str:
    return _columns(text(name), _SACCT.split(), "JobName", parse.SACCT)


def _columns(text: str, has: list[str], odd: str, wanted: Iterable[str]) -> str:
    """Lines with the wanted columns; that of the name may hold the delimiter."""
    lines = []
    for line in text.splitlines():
        fields = line.split("|")
        before, after = has.index(odd), len(has) - has.index(odd) - 1
        name = "|".join(fields[before : len(fields) - after])
        row = dict(zip(has, [*fields[:before], name, *fields[len(fields) - after :]], strict=True))
        lines.append("|".join(row[column] for column in wanted))
    return "\n".join(lines)
