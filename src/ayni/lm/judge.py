"""What a site thinks of global weights, by their loss on its held-out documents."""

from __future__ import annotations

import json
import logging
import math
from itertools import pairwise
from pathlib import Path

from ayni.lm.files import written
from ayni.lm.inner.lead import SiteTrainer
from ayni.lm.inner.order import Documents
from ayni.lm.inner.progress import Loss
from ayni.lm.outer.fragments import WHOLE
from ayni.lm.outer.messages import Compared, Evaluated, Head
from ayni.lm.parameters import Named

log = logging.getLogger(__name__)
_MOST = 256  # weights that are remembered


class Judge:
    """A site's held-out documents, and the losses that were measured on them, by the weights' digest.

    They are kept in the volume, so that a successor can judge a version by a parent that it has never
    seen.
    """

    def __init__(
        self, site: str, trainer: SiteTrainer, documents: Documents, path: Path, *, every: bool
    ) -> None:
        """`every`: each version is judged, and not only compared with what it is said to be compared."""
        self._site, self._trainer, self._documents = site, trainer, documents
        self._path, self._every = path, every
        self._losses = _read(path)
        self._said: set[int] = set()  # versions

    def wants(self, head: Head, digest: str) -> bool:
        """Whether the weights with this digest must be measured, to judge a version by them."""
        if digest in self._losses:
            return False
        asked = {other for _, other, _ in _recent(head)} if self._every else set()
        asked |= {head.digest} if head.variants else set()
        return digest in asked

    def measure(self, digest: str) -> None:
        """Measure the weights as they are.

        Raises:
            UserError: it cannot be written down.
        """
        self._losses[digest] = _mean(self._trainer.evaluate(self._documents))
        for old in list(self._losses)[:-_MOST]:
            del self._losses[old]
        with written(self._path) as file:
            file.write(json.dumps(self._losses).encode())

    def verdicts(self, head: Head) -> list[Evaluated]:
        """What each of the latest versions did to the loss, once; nothing of those that were never here.

        Not the head alone: two versions may come in quick succession, and where the first did harm,
        the second one's parent is bad already.
        """
        found = []
        for (_, parent, _), (version, digest, changed) in pairwise(_recent(head)):
            before = self._losses.get(parent, math.nan)
            after = self._losses.get(digest)
            known = after is not None and math.isfinite(before)
            if self._every and changed and known and version not in self._said:
                self._said.add(version)
                found.append(self._evaluated(version, before, after))
        return found

    def _evaluated(self, version: int, before: float, after: float | None) -> Evaluated:
        finite = after is not None and math.isfinite(after)
        return Evaluated(
            site=self._site,
            fragment=WHOLE,
            version=version,
            before=before,
            after=after if finite else None,
        )

    def compare(self, head: Head, without: str, change: Named) -> Compared | None:
        """What a version would be without one site's part; None: the version's own loss is no number.

        Args:
            change: what is to be taken from the version's weights for that.

        Raises:
            UserError: it is no change of this model.
        """
        loss = self._losses.get(head.digest, math.nan)
        other = _mean(self._trainer.evaluate_less(change, self._documents))
        if not math.isfinite(loss):
            return None
        return Compared(
            site=self._site,
            fragment=WHOLE,
            version=head.version,
            without=without,
            loss=loss,
            other=other if math.isfinite(other) else None,
        )


def _mean(losses: dict[str, Loss]) -> float:
    """Nats a token over all languages."""
    return sum(one.nats for one in losses.values()) / max(1, sum(o.tokens for o in losses.values()))


def _recent(head: Head) -> list[tuple[int, str, bool]]:
    """The versions that may still be judged: number, digest, and whether the weights changed."""
    ways = [(head.snapshot_version, head.snapshot_digest, False)]
    ways += [(link.version, link.digest, link.update is not None) for link in head.chain]
    return ways[-(head.window + 2) :]


def _read(path: Path) -> dict[str, float]:
    if not path.exists():
        return {}
    try:
        return {str(digest): float(loss) for digest, loss in json.loads(path.read_text()).items()}
    except (ValueError, TypeError, AttributeError) as error:
        log.warning("%s: %s; measuring anew", path, error)
        return {}
