"""What the joint model is worth: beside each country alone, and beside one place that had all the data.

    python -m ayni.demo.model.compare RUN TEXTS TOKENIZER OUT HELD_OUT

This runs outside the network, on public copies of the texts: nobody could do it where texts really stay.
RUN is the folder of the run's coordinator, TEXTS has a folder to each site; HELD_OUT of them was held out.
OUT gets `model/`, the exported
joint model, and `compared.jsonl`, from which `results.parse` makes a `Comparison`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from ayni.client import Network
from ayni.demo.alliance import HOME
from ayni.demo.model.holdings import NAME
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
from ayni.lm.inner.train import Trainer
from ayni.lm.release.evidence import Loss, Losses
from ayni.lm.release.facts import Given
from ayni.lm.release.generate import generate
from ayni.lm.release.measure import losses as losses_of
from ayni.lm.release.publish import Wanted, amend, publish
from ayni.lm.tokenizer import model as tokenizers
from ayni.terminal import one_line

RESULTS, MODEL = "compared.jsonl", "model"
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


def pack(run: Run, texts: Path, tokenizer: Path, work: Path, held_out: float) -> dict[str, Path]:
    """Shards of the copies, a folder to each site."""
    words = tokenizers.load(tokenizer)
    folders = {one.site: work / one.site for one in run.sites}
    for site, folder in folders.items():
        sources = read.sources([texts / site / NAME], {}, None)
        Packer(sources, folder, words, Origin(member=_ORIGIN, site=site), held_out).run()
    return folders


def train(job: Job, run: Run, shards: Mapping[str, Path]) -> tuple[Losses, int]:
    """Train as a site of the run does, without the others; losses on all that is held out, and tokens."""
    torch.set_num_threads(1)
    data = run.training.data.model_copy(update={"batch": job.rows})
    settings = run.training.model_copy(update={"data": data})
    order = Order(
        Joined([shards[site] for site in job.sites]),
        seed=settings.seed,
        site=job.sites[0] if len(job.sites) == 1 else "all",
        length=data.length,
        temperature=data.temperature,
        max_repeats=data.max_repeats,
    )
    net = model.start(run.model, seed=settings.seed)
    trainer = Trainer(settings, net, order, ranks.join("cpu"))
    brought = trainer.round(Round(0, run.outer.schedule.steps, 0))
    heldout = Joined(list(shards.values()), "heldout")
    found, size = evaluate(Trainee(net), heldout, length=data.length, rows=_ROWS), sizes(shards)
    losses = Losses(
        weights=_known_by(net),
        tokenizer=load_manifest(shards[job.sites[0]]).tokenizer.sha256,
        sites=tuple(shards),
        length=data.length,
        languages={
            name: Loss(loss=one.mean, tokens=one.tokens, bytes=size[name])
            for name, one in found.items()
            if one.tokens
        },
    )
    return losses, brought.tokens


def _known_by(net: Any) -> str:
    digest = hashlib.sha256()
    for tensor in model.named(net).values():
        digest.update(tensor.detach().numpy().tobytes())
    return digest.hexdigest()


def sizes(shards: Mapping[str, Path]) -> dict[str, int]:
    """Bytes of all that is held out, by language."""
    found: dict[str, int] = {}
    for folder in shards.values():
        for name, amount in load_manifest(folder).amounts["heldout"].items():
            found[name] = found.get(name, 0) + amount.bytes
    return found


def bits(losses: Losses) -> dict[str, float]:
    """Bits per byte by language: of one text, languages have more or fewer tokens, and so do models."""
    return {name: one.bits for name, one in losses.languages.items() if one.bits is not None}


def own(shards: Mapping[str, Path]) -> dict[str, list[str]]:
    """The languages that only one site holds."""
    held = {site: set(load_manifest(folder).languages) for site, folder in shards.items()}
    return {
        site: sorted(names - set().union(*(held[other] for other in held if other != site)))
        for site, names in held.items()
    }


def compare(
    run: Run, folder: Path, texts: Path, tokenizer: Path, out: Path, held_out: float
) -> None:
    """All of it; trainings side by side, as many as there are cores."""
    out.mkdir(parents=True, exist_ok=True)
    exported = out / MODEL
    shards = pack(run, texts, tokenizer, out / "shards", held_out)
    fork = multiprocessing.get_context("fork")  # torch takes seconds to import
    with (
        (out / RESULTS).open("w", encoding="utf-8", buffering=1) as file,
        ProcessPoolExecutor(min(2, os.cpu_count() or 1), fork) as pool,
    ):

        def say(found: Mapping[str, Any]) -> None:
            file.write(json.dumps(found) + "\n")

        def measured(name: str, losses: Losses, tokens: int) -> None:
            say(asdict(Measured(name, bits(losses), tokens)))

        running = {job.name: pool.submit(train, job, run, shards) for job in jobs(run)}
        say({"own": own(shards)})
        publish(run, folder, exported, Wanted(tokenizer=tokenizer), network=Network())
        joint = losses_of(exported, list(shards.values()), length=run.training.data.length)
        measured(JOINT, joint, _tokens(folder))
        text = generate(exported, PROMPT, tokens=48, temperature=0.5, seed=1)
        say({"prompt": PROMPT, "text": one_line(text)})
        for name, one in running.items():
            measured(name, *one.result())
    compared = {_card_name(name): [one.result()[0]] for name, one in running.items()}
    amend(exported, Given(losses=[joint], compared=compared))


def _card_name(name: str) -> str:
    return name if name == ONE_PLACE else f"{HOME[name]} alone"


def _tokens(folder: Path) -> int:
    """What the sites trained on in the rounds that were merged."""
    status = json.loads((folder / "status.json").read_text())
    return sum(int(site["tokens"]) for site in status["sites"])


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m ayni.demo.model.compare")
    for name in ("run", "texts", "tokenizer", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("held_out", type=float)
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    try:
        run = load(given.run / RESOLVED)
        compare(run, given.run, given.texts, given.tokenizer, given.out, given.held_out)
    except UserError as error:
        print(one_line(str(error)), file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
