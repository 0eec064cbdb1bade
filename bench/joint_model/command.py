"""The command line, and the table."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path

import torch

from ayni.lm.plan import parameters
from bench.joint_model import __doc__ as told
from bench.joint_model.cases import CASES, ONE_PLACE, ONE_PLACE_MUON, Result, run
from bench.joint_model.scales import SCALES, SITES, Scale
from bench.joint_model.texts import Corpus, fetched, from_folder, from_shards

#: What is wanted of a case's gap to one place, in per cent.
WANTED = {
    "H=5, plain mean": 4.0,
    "H=5 to step 400, then 50, plain mean": 10.0,
    "the default schedule": 10.0,
    "the default schedule, Muon": 10.0,
    "H=30, plain mean": 1.5,
}
FIRST_CASES = [case.name for case in CASES if "H=30" not in case.name and case.fragments == 1]


def main() -> None:
    options = _parse()
    scale = SCALES[options.scale]
    results, unit = [], "byte" if scale.encoded else "token"
    if options.found:
        lines = options.found.read_text().splitlines()
        results = [Result(**json.loads(line)) for line in lines]
    else:
        corpus = _corpus(options)
        steps = options.steps or scale.steps
        amounts = ", ".join(f"{site.lengths.sum() / 1e6:.2f}" for site in corpus.sites)
        print(
            f"{parameters(scale.shape):,} parameters; sites with {amounts} million {unit}s, "
            f"{corpus.heldout.lengths.sum() / 1e6:.2f} held out; {steps} steps",
            flush=True,
        )
        for result in _results(options, corpus, steps, scale):
            results.append(result)
            print(_line(result, unit), flush=True)
            if options.json:
                with options.json.open("a") as file:
                    file.write(json.dumps(asdict(result)) + "\n")
    _report(results, scale, options.steps or scale.steps, unit, options.label)


def _corpus(options: argparse.Namespace) -> Corpus:
    if options.shards:
        return from_shards(options.shards)
    if options.corpus:
        return from_folder(options.corpus, SITES, split=options.split)
    return fetched()


def _results(
    options: argparse.Namespace, corpus: Corpus, steps: int, scale: Scale
) -> Iterator[Result]:
    """As they come: all cases of the first seed before those of the next."""
    chosen = [case for case in CASES if case.name in options.cases]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.jobs, context, _alone) as pool:
        jobs = [
            pool.submit(run, case, corpus, seed, steps, lr, scale)
            for seed in options.seeds
            for case in chosen
            for lr in options.lr
        ]
        for job in as_completed(jobs):
            yield job.result()


def _alone() -> None:
    torch.set_num_threads(1)


def _line(result: Result, unit: str) -> str:
    return (
        f"  {result.case}, seed {result.seed}, rate {result.lr:g}: {result.mean:.4f} bits per {unit}, "
        f"all text {result.whole:.4f}, worst language {result.worst:.4f}, {result.seconds:.0f} s"
    )


def _report(results: list[Result], scale: Scale, steps: int, unit: str, label: str) -> None:
    best = {}
    for name in (ONE_PLACE, ONE_PLACE_MUON):
        places = _by_rate(results, name)
        if len(places) > 1:
            tried = ", ".join(f"{lr:g}: {_mean(found):.3f}" for lr, found in places.items())
            print(f"{name} by its learning rate, bits per {unit}: {tried}")
        best[name] = min(places.values(), key=_mean, default=[])
    parallel = 2 * 4 * parameters(scale.shape) * steps  # float32, both directions, every step
    for case in CASES:
        own = ONE_PLACE_MUON if case.optimiser == "muon" else ONE_PLACE
        for lr, mine in _by_rate(results, case.name).items():
            line = f"{_mean(mine):.3f} bits per {unit}"
            for name in dict.fromkeys((own, ONE_PLACE)):
                if best[name] and best[name] is not mine and best[name][0] not in mine:
                    line += _gaps(mine, best[name], "" if name == own else f" against {name}")
            if mine[0].sent:
                line += f", {parallel / mine[0].sent:.0f}× fewer bytes"
            if case.name in WANTED:
                line += f" (wanted: at most {WANTED[case.name]:g} %)"
            seeds = f"{len(mine)} seed{'s' if len(mine) > 1 else ''}"
            mark = "=" if case.name in WANTED else " "
            print(f"{mark} {label}, {case.name}, rate {lr:g}, {seeds}: {line}")


def _by_rate(results: list[Result], name: str) -> dict[float, list[Result]]:
    mine = sorted((r for r in results if r.case == name), key=lambda r: (r.lr, r.seed))
    return {lr: [r for r in mine if r.lr == lr] for lr in dict.fromkeys(r.lr for r in mine)}


def _mean(results: list[Result]) -> float:
    return statistics.mean(r.mean for r in results)


def _gaps(mine: list[Result], place: list[Result], against: str) -> str:
    """Against one place of the same seed: the mean of the languages, all text, the worst language."""
    base = {r.seed: r for r in place}
    mine = [r for r in mine if r.seed in base]
    if not mine:
        return ""
    gaps = [100 * (r.mean / base[r.seed].mean - 1) for r in mine]
    whole = statistics.mean(100 * (r.whole / base[r.seed].whole - 1) for r in mine)
    worst = statistics.mean(100 * (r.worst / base[r.seed].worst - 1) for r in mine)
    spread = f" ± {statistics.stdev(gaps):.1f}" if len(gaps) > 1 else ""
    text = f", {statistics.mean(gaps):+.1f}{spread} %{against}"
    if len(mine[0].losses) > 1:
        text += f" (all text {whole:+.1f} %, worst language {worst:+.1f} %)"
    return text


def _parse() -> argparse.Namespace:
    names = [case.name for case in CASES]
    parser = argparse.ArgumentParser(
        description=told, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--corpus", type=Path, help="a folder that `ayni lm corpus` reads")
    parser.add_argument("--split", action="store_true", help="each subfolder is a site's")
    parser.add_argument(
        "--shards", type=Path, nargs=SITES, metavar="DIR", help="a folder of shards to a site"
    )
    parser.add_argument("--scale", choices=SCALES, default="small")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int)
    parser.add_argument(
        "--lr", type=float, nargs="+", default=[2e-3], help="AdamW's and Muon's; each is tried"
    )
    parser.add_argument("--jobs", type=int, default=2, help="runs at once, one thread each")
    parser.add_argument("--cases", nargs="+", choices=names, default=FIRST_CASES, metavar="NAME")
    parser.add_argument("--json", type=Path, help="add each result to this file, a line each")
    parser.add_argument("--label", default="joint model", help="of the lines of the table")
    parser.add_argument(
        "--from", dest="found", type=Path, help="no runs: the table of results in such a file"
    )
    return parser.parse_args()
