"""Simulated sites under a simulated clock: what the broker is worth, and whether it holds at scale."""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path

from bench.__main__ import machine
from bench.simulate import document, report
from bench.simulate.central import by_list
from bench.simulate.metrics import Figures, least_makespan, measure
from bench.simulate.ours import Ours
from bench.simulate.policies import Progress, Schedule, StrandedError, at_random, home
from bench.simulate.profiles import PROFILES, Profile, SiteSpec, synthetic
from bench.simulate.workload import Log, LogError, Workload, from_log, peak, read_swf

POLICIES = {"ours": Ours, "home": home, "random": at_random, "list": by_list}
MANY_MEMBERS = 30  # more are in the JSON file alone
EXAMPLES = """
policies:
  ours     the real broker, and the real protocol between it and the sites
  home     every task at its home
  random   every task at a random site that is large enough
  list     one list for all sites, with true run times

examples:
  python -m bench.simulate
  python -m bench.simulate --profile hundred --policy ours,home,random,list --seed 1
  python -m bench.simulate --profile coatlicue --tasks 50000 --chart coatlicue.svg
  python -m bench.simulate --log NASA-iPSC-1993-3.1-cln.swf.gz --load 0.8 --json nasa.json
  python -m bench.simulate --loss 0.05   # one message in twenty is lost
"""


def main(arguments: list[str] | None = None) -> int:
    options = _options(arguments)
    profile = PROFILES[options.profile]()
    try:
        sites, workload, what = _world(options, profile)
        bound = least_makespan(workload, sites)
        print(f"{what}; seed {options.seed}; lower bound of the last end: {report.span(bound)}")
        found, took = {}, {}
        for policy in options.policy:
            began, worked = time.perf_counter(), time.process_time()
            schedule = _run(policy, workload, sites, options, profile)
            took[policy] = time.perf_counter() - began
            worked = time.process_time() - worked
            found[policy] = measure(workload, sites, schedule)
            _clear()
            notes = ", ".join(f"{count:.0f} {name}" for name, count in schedule.notes.items())
            more = f" ({notes})" if notes else ""
            print(f"{policy}: {took[policy]:.1f} s, {worked:.1f} s of one core{more}", flush=True)
        _show(options, found, took, bound, workload, what)
    except (LogError, StrandedError, OSError) as error:
        print(f"bench.simulate: {error}", file=sys.stderr)
        return 2
    return 0


def _world(options: argparse.Namespace, profile: Profile) -> tuple[list[SiteSpec], Workload, str]:
    """The sites, what is submitted, and a line about both."""
    if options.log is None:
        tasks = options.tasks or profile.tasks
        workload = synthetic(profile, tasks, options.seed, options.load or profile.load)
        return profile.sites, workload, f"{options.profile}: {profile.about}, {len(workload)} tasks"
    log = read_swf(options.log, options.tasks)
    sites = log_sites(log, profile)
    workload = from_log(log, [s.sizes()["cpu"][0] for s in sites], options.load)
    skipped = f", {log.skipped} lines skipped" if log.skipped else ""
    thanks = f" (acknowledged: {log.thanks}, the Parallel Workloads Archive)" if log.thanks else ""
    about = f"{len(sites)} sites, {len(log.jobs)} tasks of {options.log.name}{thanks}{skipped}"
    return sites, workload, about


def log_sites(log: Log, profile: Profile) -> list[SiteSpec]:
    """The profile's sites, each as large as the log's machine; or a site to each of its partitions."""
    memory = max(job.memory for job in log.jobs) + 1
    if len(log.partitions) > 1:
        return [
            SiteSpec(f"partition-{p:03}", f"partition-{p:03}", peak(j for j in log.jobs if j.partition == p),
                     node_cores=1, node_memory=memory)
            for p in log.partitions
        ]  # fmt: skip
    nodes = max(log.procs, max(job.cores for job in log.jobs))
    return [
        replace(s, nodes=nodes, gpu_nodes=0, node_cores=1, node_memory=memory, demand=1.0)
        for s in profile.sites
    ]


def _run(
    policy: str,
    workload: Workload,
    sites: list[SiteSpec],
    options: argparse.Namespace,
    profile: Profile,
) -> Schedule:
    progress = _progress(policy, len(workload))
    if policy == "ours":
        how = Ours(options.gap or profile.gap, options.loss, options.depth)
        return how(workload, sites, options.seed, progress)
    run = {"home": home, "random": at_random, "list": by_list}[policy]
    return run(workload, sites, options.seed, progress)


def _progress(policy: str, tasks: int) -> Progress:
    """A line that says how far it is; on a terminal only."""
    if not sys.stderr.isatty():
        return lambda done: None
    began = shown = time.perf_counter()

    def show(done: int) -> None:
        nonlocal shown
        now = time.perf_counter()
        if now - shown > 0.5:
            shown = now
            left = (now - began) / max(done, 1) * (tasks - done)
            print(f"\r{policy}: {done / tasks:4.0%} of {tasks} tasks, {left:.0f} s left  ", end="",
                  file=sys.stderr, flush=True)  # fmt: skip

    return show


def _clear() -> None:
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr, flush=True)


def _show(
    options: argparse.Namespace,
    found: dict[str, Figures],
    took: dict[str, float],
    bound: float,
    workload: Workload,
    what: str,
) -> None:
    rows = [report.row(policy, f, bound, took[policy]) for policy, f in found.items()]
    print("\n" + report.table(report.COLUMNS, rows))
    if len(next(iter(found.values())).member_wait) <= MANY_MEMBERS:
        print("\n" + report.table(*report.member_rows(found)))
    name = options.log.name.partition(".")[0] if options.log else options.profile
    print("\n" + "\n".join(report.figures(name, found, took, len(workload))))
    if options.json:
        about = {
            "what": what,
            "seed": options.seed,
            "loss": options.loss,
            "depth": options.depth,
            "least_makespan": bound,
            "seconds": took,
        }
        options.json.write_text(report.as_json(about, found))
    if options.chart:
        options.chart.write_text(report.chart(what, found))
    if options.document:
        chart = f"simulation-{name}.svg"
        (options.document.parent / chart).write_text(report.chart(what, found))
        words = document.section(what, _said(options), machine(), chart, found, took, bound)
        document.put(options.document, name, words)


def _said(options: argparse.Namespace) -> str:
    """The command as it can be given again."""
    log = ["--log", options.log.name] if options.log else ["--profile", options.profile]
    words = [*log, "--policy", ",".join(options.policy), "--seed", str(options.seed)]
    for name in ("tasks", "load", "gap", "depth"):
        if (value := getattr(options, name)) is not None:
            words += [f"--{name}", f"{value:g}" if name == "load" else str(value)]
    if options.loss:
        words += ["--loss", f"{options.loss:g}"]
    return " ".join(["python -m bench.simulate", *words])


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.simulate",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--profile", choices=PROFILES, default="alliance", help="the sites (%(default)s)")
    add("--policy", type=_policies, default=list(POLICIES), metavar="P,…",
        help="which to compare (ours,home,random,list)")  # fmt: skip
    add("--seed", type=int, default=1, help="of the tasks and of chance (%(default)s)")
    add(
        "--tasks",
        type=_count,
        metavar="N",
        help="how many (the profile's own number; of a log: all)",
    )
    add("--log", type=Path, metavar="FILE",
        help="tasks of a log in the Standard Workload Format, also gzipped")  # fmt: skip
    add("--load", type=_load, metavar="L",
        help="core seconds asked over those there are (the profile's, or the log's own)")  # fmt: skip
    add(
        "--gap",
        type=_count,
        metavar="S",
        help="simulated seconds between the broker's cycles, at least",
    )
    add("--depth", type=_count, metavar="N",
        help="tasks that a partition wants waiting beyond those that fit (as agents decide)")  # fmt: skip
    add("--loss", type=_chance, default=0.0, metavar="P",
        help="chance of losing a message between site and hub, 0 to 0.9 (0)")  # fmt: skip
    add("--json", type=Path, metavar="FILE", help="write all figures into this file")
    add("--document", type=Path, metavar="FILE",
        help="write table and chart into this document, beside what it holds")  # fmt: skip
    add("--chart", type=Path, metavar="FILE", help="draw the comparison into this SVG file")
    options = parser.parse_args(arguments)
    for path in (options.json, options.chart, options.document):
        if path and not path.parent.is_dir():
            parser.error(f"there is no folder {path.parent} for {path.name}")
    return options


def _policies(text: str) -> list[str]:
    names = list(dict.fromkeys(text.split(",")))
    if unknown := [name for name in names if name not in POLICIES]:
        raise argparse.ArgumentTypeError(
            f"no policy {', '.join(unknown)!r}; there are {', '.join(POLICIES)}"
        )
    return names


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 on, not {text!r}")
    return int(text)


def _share(text: str, most: float) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= most:
        raise argparse.ArgumentTypeError(f"must be a number from 0 to {most:g}, not {text!r}")
    return value


def _load(text: str) -> float:
    if (value := _share(text, 10.0)) == 0:
        raise argparse.ArgumentTypeError("must be more than 0")
    return value


def _chance(text: str) -> float:
    return _share(text, 0.9)
