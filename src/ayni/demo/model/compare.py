"""What the joint model is worth: beside each country alone, and beside one place that had all the data.

    python -m ayni.demo.model.compare RUN TEXTS TOKENIZER OUT

This runs outside the network, on public copies of the texts: nobody could do it where texts really stay.
RUN is the folder of the run's coordinator, TEXTS has a folder to each site. OUT gets `model/`, the exported
joint model, and `compared.jsonl`, from which `results.parse` makes a `Comparison`.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from ayni.demo.model.holdings import HELD_OUT, NAME
from ayni.demo.model.results import JOINT, ONE_PLACE, Measured
from ayni.errors import UserError
from ayni.lm.config import RESOLVED, Run, load
from ayni.lm.corpus import read
from ayni.lm.corpus.pack import Packer
from ayni.lm.corpus.shards import Joined, Origin, load_manifest
from ayni.lm.inner import model, ranks
from ayni.lm.inner.evaluate import evaluate
from ayni.lm.inner.model import Trainee
from ayni.lm.inner.order import Order
from ayni.lm.inner.progress import Round
from ayni.lm.inner.settings import Start
from ayni.lm.inner.train import Trainer
from ayni.lm.outer.files import FolderStore
from ayni.lm.outer.fragments import WHOLE
from ayni.lm.outer.journal import Kept
from ayni.lm.outer.perform import raw_chunks
from ayni.lm.parameters import arrays
from ayni.lm.release.export import export
from ayni.lm.release.generate import generate
from ayni.lm.tokenizer import model as tokenizers
from ayni.terminal import one_line

RESULTS = "compared.jsonl"
_ROWS = 32  # evaluated at once
_ORIGIN = "XX"  # the copies are nobody's
PROMPT = "Toda persona tiene derecho a"


@dataclass(frozen=True)
class Job:
    """One training outside the network. `sites`: whose texts; `rows` of a step."""

    name: str
    sites: tuple[str, ...]
    rows: int


def jobs(run: Run) -> list[Job]:
    """One place has all texts and the compute of all sites, a country its own texts and its own share."""
    names = tuple(one.site for one in run.sites)
    rows = run.training.data.batch
    return [Job(ONE_PLACE, names, rows * len(names)), *(Job(name, (name,), rows) for name in names)]


def pack(run: Run, texts: Path, tokenizer: Path, work: Path) -> dict[str, Path]:
    """Shards of the copies, a folder to each site."""
    words = tokenizers.load(tokenizer)
    folders = {one.site: work / one.site for one in run.sites}
    for site, folder in folders.items():
        sources = read.sources([texts / site / NAME], {}, None)
        Packer(sources, folder, words, Origin(member=_ORIGIN, site=site), HELD_OUT).run()
    return folders


def train(job: Job, run: Run, shards: Mapping[str, Path]) -> Measured:
    """Train as a site of the run does, without the others, and measure it on all that is held out."""
    torch.set_num_threads(1)
    began = time.perf_counter()
    data = run.training.data.model_copy(update={"batch": job.rows})
    settings = run.training.model_copy(update={"data": data})
    order = Order(
        Joined([shards[site] for site in job.sites]),
        seed=settings.seed,
        site=job.sites[0] if len(job.sites) == 1 else ONE_PLACE,
        length=data.length,
        temperature=data.temperature,
        max_repeats=data.max_repeats,
    )
    net = model.start(run.model, seed=settings.seed)
    trainer = Trainer(settings, net, order, ranks.join("cpu"))
    steps = run.outer.schedule.steps
    brought = trainer.round(Round(0, steps, 0))
    bits = measure(trainer.model, run, shards)
    return Measured(job.name, bits, brought.tokens, time.perf_counter() - began)


def measure(net: Any, run: Run, shards: Mapping[str, Path]) -> dict[str, float]:
    """Bits per byte of the held-out text of every site, by language; tokens differ, bytes do not."""
    found = evaluate(
        Trainee(net), Joined(list(shards.values()), "heldout"), length=run.training.data.length,
        rows=_ROWS,
    )  # fmt: skip
    sizes: dict[str, int] = {}
    for folder in shards.values():
        for name, amount in load_manifest(folder).amounts["heldout"].items():
            sizes[name] = sizes.get(name, 0) + amount.bytes
    return {name: loss.nats / math.log(2) / sizes[name] for name, loss in found.items()}


def release(run: Run, folder: Path, tokenizer: Path, out: Path) -> Path:
    """Export the joint model, as `ayni lm export` does."""
    with closing(Kept(folder)) as journal:
        state = journal.state()
    if state is None:
        raise UserError(f"{folder}: the run has not begun")
    lane = state.lanes[WHOLE]
    assert run.model.shape is not None
    config = model.config_of(run.model.shape)
    shapes = {n: tuple(p.shape) for n, p in model.named(model.build(config, seed=0)).items()}
    with FolderStore(folder / "blobs").open(lane.versions[lane.head].params or "") as blob:
        export(out / "model", config, arrays(raw_chunks(blob, lane.count), shapes), tokenizer)
    return out / "model"


def joint(run: Run, exported: Path, shards: Mapping[str, Path], tokens: int) -> Measured:
    """The exported model, loaded from its folder as anybody would."""
    began = time.perf_counter()
    net = model.start(Start(checkpoint=exported), seed=0)
    return Measured(JOINT, measure(net, run, shards), tokens, time.perf_counter() - began)


def own(shards: Mapping[str, Path]) -> dict[str, list[str]]:
    """The languages that only one site holds."""
    held = {site: set(load_manifest(folder).languages) for site, folder in shards.items()}
    return {
        site: sorted(names - set().union(*(held[other] for other in held if other != site)))
        for site, names in held.items()
    }


def compare(run: Run, folder: Path, texts: Path, tokenizer: Path, out: Path) -> None:
    """All of it; trainings side by side, as many as there are cores."""
    out.mkdir(parents=True, exist_ok=True)
    shards = pack(run, texts, tokenizer, out / "shards")
    fork = multiprocessing.get_context("fork")  # torch takes seconds to import
    with (
        (out / RESULTS).open("w", encoding="utf-8", buffering=1) as file,
        ProcessPoolExecutor(min(2, os.cpu_count() or 1), fork) as pool,
    ):

        def say(found: Mapping[str, Any]) -> None:
            file.write(json.dumps(found) + "\n")

        running = [pool.submit(train, job, run, shards) for job in jobs(run)]
        say({"own": own(shards)})
        exported = release(run, folder, tokenizer, out)
        say(asdict(joint(run, exported, shards, _tokens(folder))))
        text = generate(exported, PROMPT, tokens=48, temperature=0.5, seed=1)
        say({"prompt": PROMPT, "text": one_line(text)})
        for one in as_completed(running):
            say(asdict(one.result()))


def _tokens(folder: Path) -> int:
    """What was trained on in the rounds that were merged."""
    status = json.loads((folder / "status.json").read_text())
    return sum(int(site["tokens"]) for site in status["sites"])


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m ayni.demo.model.compare")
    for name in ("run", "texts", "tokenizer", "out"):
        parser.add_argument(name, type=Path)
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    try:
        run = load(given.run / RESOLVED)
        compare(run, given.run, given.texts, given.tokenizer, given.out)
    except UserError as error:
        print(one_line(str(error)), file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
