"""The task that trains at a site: `python -m ayni.lm.site …`. Exit code 75 asks for a successor."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ayni.channel import Channel
from ayni.errors import UserError, is_full
from ayni.lm import wire
from ayni.lm.config import Run, load
from ayni.lm.inner.lead import Leader, follow
from ayni.lm.inner.order import Documents
from ayni.lm.inner.progress import Paused
from ayni.lm.inner.train import Trainer
from ayni.lm.outer.fragments import WHOLE
from ayni.lm.outer.messages import Failed
from ayni.lm.participant import Participant
from ayni.lm.voice import Up, Voice
from ayni.terminal import one_line

if TYPE_CHECKING:
    from ayni.lm.corpus.shards import Shards

log = logging.getLogger(__name__)
_PAUSE = 0.1  # seconds between two looks
_LAST_WORDS = 60.0  # seconds at the end, for what was said to be taken


def build_trainer(
    run: Run, name: str, data: Path, state: Path, checkpoint: Path, meeting: Path | None = None
) -> Trainer:
    """The trainer of a site, as its last checkpoint left it.

    Args:
        checkpoint: a folder with the `config.json` of the checkpoint that the run continues, if any;
            its weights come by the channel.
        meeting: where the site's ranks find each other, if there are several.

    Raises:
        UserError: what is missing or does not fit.
    """
    from ayni.lm.corpus.shards import Shards
    from ayni.lm.inner import model, ranks
    from ayni.lm.inner.checkpoint import Checkpoints
    from ayni.lm.inner.order import Order

    settings, shape = run.training, run.model.shape
    here = ranks.join(meeting=meeting)
    config = model.config_of(shape) if shape else model.read_config(checkpoint)
    attention = "flex_attention" if here.device.type == "cuda" else "sdpa"
    shards = Shards(data)
    _check_tokens(run, shards, config.vocab_size)
    order = Order(
        shards,
        seed=settings.seed,
        site=name,
        length=settings.data.length,
        temperature=settings.data.temperature,
        max_repeats=settings.data.max_repeats,
    )
    trainer = Trainer(
        settings,
        model.build(config, seed=settings.seed, attention=attention),
        order,
        here,
        checkpoints=Checkpoints(state / "checkpoints", here, keep=settings.keep),
        fragments=run.outer.fragments,
    )
    trainer.resume()
    return trainer


def _check_tokens(run: Run, shards: Shards, words: int) -> None:
    """Raises UserError: the shards are of another tokenizer than the run's, or the model's."""
    made = shards.manifest.tokenizer
    if run.tokenizer_sha256 not in (None, made.sha256):
        raise UserError(
            f"{shards.folder}: made with another tokenizer ({made.sha256[:12]}…) than the run's "
            f"({str(run.tokenizer_sha256)[:12]}…): pack the texts again with that one"
        )
    if made.size > words:
        raise UserError(
            f"{shards.folder}: its tokenizer has {made.size} tokens and the model {words} (vocab_size): pack "
            "the texts with the run's tokenizer, or give the model as many"
        )


def heldout_of(run: Run, data: Path) -> Documents | None:
    """The texts by which a site judges versions; None: the run does not ask for it.

    Raises:
        UserError: the run asks for it, and nothing is held out.
    """
    from ayni.lm.corpus.shards import Shards

    asked = [name for name in ("evaluate", "leave_one_out") if getattr(run.outer, name)]
    if not asked:
        return None
    heldout = Shards(data, "heldout")
    if not heldout:
        raise UserError(
            f"{data}: nothing is held out, and the run has its sites judge versions by that "
            f"(outer.{asked[0]}): pack the texts again, with --held-out 0.01 or more"
        )
    return heldout


def work(site: Participant, told: Callable[[], bool]) -> None:
    """Take part until the run is over.

    Raises:
        Paused: told to stop; go on in a successor.
    """
    while not site.done:
        if site.step():
            continue
        if told():
            site.pause()
        time.sleep(_PAUSE)


def _until_taken(up: Up) -> None:
    """A task that is over is not heard any more: wait a little for its last words to be taken."""
    end = time.monotonic() + _LAST_WORDS
    while up.waiting() and time.monotonic() < end:
        time.sleep(_PAUSE)


def _lead(
    run: Run,
    name: str,
    trainer: Trainer,
    state: Path,
    heldout: Documents | None,
    told: Callable[[], bool],
) -> None:
    """Speak for the site, as its only rank or the first of several."""
    leader = Leader(trainer) if trainer.ranks.count > 1 else None
    up, down = Channel(run.up), Channel(run.down)
    site = Participant(run, name, leader or trainer, up, down, state, heldout=heldout, stop=told)
    speak(site, up, told, ranks=trainer.ranks.count)
    if leader is not None:
        leader.leave()
    _until_taken(up)


def speak(site: Participant, up: Up, told: Callable[[], bool], *, ranks: int = 1) -> None:
    """Take part until the run is over; where that cannot be, the run has heard so before this raises.

    Raises:
        Paused: told to stop; go on in a successor.
        UserError: the site cannot go on, or one of its ranks is gone.
    """
    try:
        work(site, told)
    except Paused:
        raise
    except (UserError, OSError):  # which it has said
        _until_taken(up)
        raise
    except Exception as error:
        site.fail(wire.CANNOT)
        _until_taken(up)
        if ranks > 1 and isinstance(error, RuntimeError):  # all that is said of a rank that is gone
            raise UserError(f"a rank of this site is gone, see its log: {error}") from error
        raise


def _unready(run: Run, name: str, error: Exception) -> None:
    """Tell the run that this site will not join."""
    if os.environ.get("RANK", "0") != "0":  # the first speaks
        return
    reason = wire.NO_ROOM if is_full(error) else wire.UNREADY
    try:
        up = Channel(run.up)
        Voice(name, up).say(Failed(site=name, fragment=WHOLE, base=0, attempt=0, reason=reason))
        _until_taken(up)
    except OSError as problem:  # nor can it be told
        log.warning("the run cannot be told: %s", problem)


def main(arguments: Sequence[str] | None = None) -> int:
    """The task at a site; exit code 75 asks for a successor."""
    from ayni.lm.inner import ranks
    from ayni.lm.inner.stop import stopping

    parser = argparse.ArgumentParser(prog="python -m ayni.lm.site")
    parser.add_argument("run", type=Path, help="the resolved configuration")
    parser.add_argument("--site", required=True, help="which of the run's sites this is")
    parser.add_argument("--data", type=Path, required=True, help="the folder of its shards")
    parser.add_argument("--state", type=Path, required=True, help="its volume")
    parser.add_argument("--checkpoint", type=Path, default=Path("checkpoint"))
    parser.add_argument("--meeting", type=Path, help="of the site's ranks, where there are several")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        run = load(given.run)
        name, state = run.at(given.site).site, given.state / run.run
        with stopping() as told:
            checkpoint, meeting = given.checkpoint, given.meeting
            try:
                heldout = heldout_of(run, given.data)
                trainer = build_trainer(run, name, given.data, state, checkpoint, meeting)
            except Exception as error:
                _unready(run, name, error)
                raise
            if not trainer.ranks.first:
                follow(trainer, heldout, told)
            else:
                _lead(run, name, trainer, state, heldout, told)
        ranks.leave()
    except (UserError, OSError) as error:
        print(one_line(str(error)), file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
