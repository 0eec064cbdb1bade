"""A site's copies of the global weights: by their digests it is known that they are everybody's."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from ayni.lm.beside import Beside
from ayni.lm.inner.lead import SiteTrainer
from ayni.lm.outer.messages import Held
from ayni.lm.parameters import digest
from ayni.lm.voice import Voice

log = logging.getLogger(__name__)


class Copies:
    """The digest of each fragment's base. `digests`: "" where it is not what it should be.

    Where a site trains on meanwhile, a copy is hashed beside the training, and taken for what it should
    be until then.
    """

    def __init__(
        self, trainer: SiteTrainer, voice: Voice, beside: Beside, fragments: Iterable[str]
    ) -> None:
        self._trainer, self._voice, self._beside = trainer, voice, beside
        self.digests = {fragment: trainer.digest(fragment) for fragment in fragments}

    def held(self, fragment: str) -> None:
        """Say which version of a fragment is here."""
        version = self._trainer.progress.parts[fragment].version
        said = self.digests[fragment]
        self._voice.say(
            Held(site=self._voice.site, fragment=fragment, version=version, digest=said)
        )

    def prove(self, fragment: str, wanted: str) -> None:
        """Have a copy hashed that is said to have a digest."""
        self.digests[fragment] = wanted
        weights = list(self._trainer.weights(fragment))
        self._beside.do(_hashing(fragment), lambda: digest(weights))

    def look(self) -> None:
        """Say which of the copies that were hashed by now are everybody's."""
        for fragment in self.digests:
            if self._beside.is_done(_hashing(fragment)):
                self.is_sound(fragment)

    def is_sound(self, fragment: str) -> bool:
        """Whether a copy is everybody's; waits, where it is being hashed."""
        if self._beside.knows(_hashing(fragment)):
            if self._beside.take(_hashing(fragment)) == self.digests[fragment]:
                self.held(fragment)
            else:
                log.warning(
                    "%s has other weights here than elsewhere: taking the snapshot", fragment
                )
                self.spoil(fragment)
        return bool(self.digests[fragment])

    def spoil(self, fragment: str) -> None:
        """A copy is not what it should be: nothing is brought to it, and the snapshot is taken."""
        self.digests[fragment] = ""
        self._trainer.progress.parts[fragment].out = None


def _hashing(fragment: str) -> str:
    return f"{fragment} hashed"
