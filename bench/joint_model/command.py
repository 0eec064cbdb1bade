"""The command line, and the table."""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch

from ayni.lm.inner import model
from bench.joint_model import __doc__ as told
from bench.joint_model.cases import CASES, ONE_PLACE, SHAPE, SITES, Case, Result, run
from bench.joint_model.texts import Texts, fetched, from_folder

#: What is wanted of a case's gap to one place, in per cent.
WANTED = {"H=5, plain mean": 4.0, "H=5 to step 400, then 50, plain mean": 10.0}


def main() -> None:
    options = _parse()
    corpus = (
        from_folder(options.corpus, SITES, split=options.split) if options.corpus else fetched()
    )
    chosen = [case for case in CASES if case.name in options.cases]
    parameters = sum(
        p.numel() for p in model.named(model.build(model.config_of(SHAPE), seed=0)).values()
    )
    sizes = ", ".join(f"{_megabytes(site)}" for site in corpus.sites)
    print(
        f"{parameters:,} parameters; sites with {sizes} MB, {_megabytes(corpus.heldout)} MB held out"
    )
    results: list[Result] = []
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.jobs, context, _alone) as pool:
        jobs = [
            pool.submit(run, case, corpus, seed, options.steps, options.lr)
            for seed in range(options.seeds)
            for case in chosen
        ]
        for job in jobs:
            result = job.result()
            results.append(result)
            print(
                f"  {result.case}, seed {result.seed}: {result.mean:.4f} bits per byte, worst "
                f"language {result.worst:.4f}, {result.seconds:.0f} s",
                flush=True,
            )
    _report(chosen, results, parameters, options.steps)


def _megabytes(texts: Texts) -> str:
    return f"{sum(map(len, texts.texts)) / 1e6:.2f}"


def _alone() -> None:
    torch.set_num_threads(1)


def _report(chosen: list[Case], results: list[Result], parameters: int, steps: int) -> None:
    base = {r.seed: r for r in results if r.case == ONE_PLACE}
    parallel = 2 * 4 * parameters * steps  # float32, both directions, every step
    for case in chosen:
        mine = [r for r in results if r.case == case.name]
        line = f"{statistics.mean(r.mean for r in mine):.3f} bits per byte"
        if base and case.name != ONE_PLACE:
            gaps = [100 * (r.mean / base[r.seed].mean - 1) for r in mine]
            worst = [100 * (r.worst / base[r.seed].worst - 1) for r in mine]
            spread = f" ± {statistics.stdev(gaps):.1f}" if len(gaps) > 1 else ""
            line += f", {statistics.mean(gaps):+.1f}{spread} %"
            line += f" (worst language {statistics.mean(worst):+.1f} %)"
        if mine[0].sent:
            line += f", {parallel / mine[0].sent:.0f}× fewer bytes"
        wanted = f" (wanted: at most {WANTED[case.name]} %)" if case.name in WANTED else ""
        print(f"= joint model, {case.name}: {line}{wanted}")


def _parse() -> argparse.Namespace:
    names = [case.name for case in CASES]
    parser = argparse.ArgumentParser(
        description=told, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--corpus", type=Path, help="a folder that `ayni lm corpus` reads")
    parser.add_argument("--split", action="store_true", help="each subfolder is a site's")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--lr", type=float, default=2e-3, help="AdamW's and Muon's")
    parser.add_argument("--jobs", type=int, default=2, help="runs at once, one thread each")
    parser.add_argument("--cases", nargs="+", choices=names, default=names, metavar="NAME")
    return parser.parse_args()
