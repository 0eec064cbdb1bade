"""What a site thinks of global weights, by their loss on its held-out documents."""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path

from ayni.lm.files import written
from ayni.lm.inner.order import Documents
from ayni.lm.inner.progress import Loss
from ayni.lm.inner.train import Trainer
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
        self, site: str, trainer: Trainer, documents: Documents, path: Path, *, every: bool
    ) -> None:
        """`every`: each version is judged, and not only compared with what it is said to be compared."""
        self._site, self._trainer, self._documents = site, trainer, documents
        self._path, self._every = path, every
        self._losses = _read(path)

    def wants(self, head: Head, digest: str) -> bool:
        """Whether the weights with this digest must be measured: a version to be judged, or its parent."""
        asked = digest in (head.digest, _parent(head)) and (self._every or bool(head.variants))
        return asked and digest not in self._losses

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

    def verdict(self, head: Head) -> Evaluated | None:
        """What a version did to the loss; None: it is not to be judged, or its parent was never here."""
        before = self._losses.get(_parent(head), math.nan)
        after = self._losses.get(head.digest)
        if not (head.evaluate and head.chain) or after is None or not math.isfinite(before):
            return None
        return Evaluated(
            site=self._site,
            fragment=WHOLE,
            version=head.version,
            before=before,
            after=after if math.isfinite(after) else None,
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


def _parent(head: Head) -> str:
    """The digest of the version before the head, as far as the head says."""
    chain = head.chain
    return chain[-2].digest if len(chain) > 1 else head.snapshot_digest


def _read(path: Path) -> dict[str, float]:
    if not path.exists():
        return {}
    try:
        return {str(digest): float(loss) for digest, loss in json.loads(path.read_text()).items()}
    except (ValueError, TypeError, AttributeError) as error:
        log.warning("%s: %s; measuring anew", path, error)
        return {}
