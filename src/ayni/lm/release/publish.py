"""A round of a run as a release: its weights made, its tokenizer, its card."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers

from ayni.client.errors import AyniError
from ayni.client.network import Network
from ayni.errors import UserError
from ayni.lm.config import RESOLVED, Run, load, with_tokenizer
from ayni.lm.inner import model
from ayni.lm.outer.journal import FILE as JOURNAL
from ayni.lm.release import card, facts, sums
from ayni.lm.release.export import Precision, check_empty, export, write_card
from ayni.lm.release.facts import Facts, Given
from ayni.lm.release.held import Held, InFolder, OnChannel, Way, chosen, ranges, weights
from ayni.lm.tokenizer import model as tokenizers

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Wanted:
    """What is released, and as what.

    `number`: of the version; None: the newest that is settled. `tokenizer`: its folder; None: the
    configuration's, else that of the checkpoint that the run continues.
    """

    number: int | None = None
    tokenizer: Path | None = None
    precision: Precision = "float32"
    given: Given = field(default_factory=Given)


def publish(
    run: Run, folder: Path, out: Path, wanted: Wanted, *, network: Network | None = None
) -> Facts:
    """Export a version with its card; `out` appears whole or not at all.

    Args:
        folder: the coordinator's; it may be at work meanwhile, or be elsewhere.
        network: is asked for the version where the folder does not hold it, for members and for hours.

    Raises:
        UserError: the version is not held, `out` is not empty, or what does not fit; the message names it.
    """
    check_empty(out)
    tokenizer = wanted.tokenizer or run.tokenizer or run.model.checkpoint
    if tokenizer is None:
        raise UserError(
            "name the folder of the run's tokenizer: tokenizer in run.toml, or --tokenizer"
        )
    run = _with_tokenizer(run, folder)
    words = tokenizers.load(tokenizer).sha256
    if run.tokenizer_sha256 not in (None, words):
        raise UserError(
            f"{tokenizer} holds another tokenizer ({words[:12]}…) than the run was trained with "
            f"({str(run.tokenizer_sha256)[:12]}…): name that one with --tokenizer"
        )
    config = _config(run)
    with torch.device("meta"):
        empty = model.named(model.build(config, seed=0))
    shapes = {name: tuple(tensor.shape) for name, tensor in empty.items()}
    with _scratch(out) as scratch:
        held = _held(run, folder, network, wanted.number, scratch / "brought")
        number = chosen(held, wanted.number)
        if wanted.number is None and held.numbers[-1] > number:
            log.warning("version %s is provisional still: --round takes it", held.numbers[-1])
        found = _facts(run, held.ways(number), folder, network, wanted.precision)
        export(
            out,
            config,
            weights(held, number, shapes, scratch / "made"),
            tokenizer,
            precision=wanted.precision,
            facts=found.model_copy(update={"tokenizer": words}),
            given=wanted.given,
        )
    return facts.load(out)


def amend(folder: Path, given: Given) -> Facts:
    """Write the card of an exported folder anew, with what was measured since.

    Raises:
        UserError: the folder is no release, a file in it has changed, or other weights were measured.
    """
    known = facts.load(folder)
    sums.check(folder, but=(card.FILE, facts.FILE))
    found = write_card(folder, known, given)
    sums.write(folder)
    return found


def _with_tokenizer(run: Run, folder: Path) -> Run:
    """The run with its tokenizer's SHA-256: as it was begun, where that is at hand."""
    if not (folder / RESOLVED).exists():
        return with_tokenizer(run)
    begun = load(folder / RESOLVED).tokenizer_sha256
    return run.model_copy(update={"tokenizer_sha256": begun or run.tokenizer_sha256})


def _config(run: Run) -> Any:
    if run.model.shape is not None:
        return model.config_of(run.model.shape)
    assert run.model.checkpoint is not None
    return model.read_config(run.model.checkpoint)


@contextmanager
def _scratch(out: Path) -> Iterator[Path]:
    """A folder beside what is written, on the same disk."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=".ayni-export-") as place:
            yield Path(place)
    except OSError as error:
        raise UserError(
            f"{out.parent}: {error.strerror}; make room, or name another place"
        ) from error


def _held(
    run: Run, folder: Path, network: Network | None, number: int | None, scratch: Path
) -> Held:
    """Where a version is held: the folder, or else the channel to the sites.

    Raises:
        UserError: nowhere; the message says which are.
    """
    tried: list[str] = []
    if _has_run(folder):
        here = InFolder(folder)
        if number is None or number in here.numbers:
            return here
        tried.append(f"{here.where} holds {ranges(here.numbers)}")
    else:
        tried.append(f"there is no run in {folder} (--folder)")
    if network is not None:
        try:
            there = OnChannel(run.run, network.channel(run.down), scratch)
        except AyniError as error:
            tried.append(f"the network could not be asked ({error})")
        else:
            if there.numbers if number is None else number in there.numbers:
                return there
            tried.append(f"{there.where} holds {ranges(there.numbers)}")
    which = "no round" if number is None else f"round {number}"
    lost = "is held" if number is None else "is not held any more"
    raise UserError(f"{which} {lost}: {'; '.join(tried)}")


def _has_run(folder: Path) -> bool:
    return (folder / JOURNAL).exists()


def _facts(
    run: Run, ways: list[Way], folder: Path, network: Network | None, precision: Precision
) -> Facts:
    members = hours = None
    if network is not None:
        try:
            members = facts.members_of(network)
            hours = facts.hours_of(network, run.run)
        except AyniError as error:
            log.warning("%s: the card will lack members and hours", error)
    found = facts.gather(
        run,
        ways,
        precision=precision,
        folder=folder if _has_run(folder) else None,
        members=members,
        hours=hours,
    )
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    return found.model_copy(update={"made_with": {**found.made_with, **versions}})
