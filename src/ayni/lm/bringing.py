"""A site's pseudo-gradients on their way: encoded, said once, and known to be taken."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from ayni.errors import UserError
from ayni.lm.beside import Beside
from ayni.lm.config import Run
from ayni.lm.inner.lead import SiteTrainer
from ayni.lm.inner.progress import Brought
from ayni.lm.outer.messages import Contributed, nonce_of
from ayni.lm.outgoing import Encoded, Outgoing, base
from ayni.lm.parameters import chunks
from ayni.lm.voice import Voice


class Bringing:
    """What is out of each fragment (`Part.out`), from the weights to the site's agent."""

    def __init__(
        self,
        run: Run,
        trainer: SiteTrainer,
        voice: Voice,
        state: Path,
        counts: Mapping[str, int],
        digests: Mapping[str, str],
        beside: Beside,
    ) -> None:
        """`digests`: of each fragment's base, kept by the caller."""
        self._run, self._site, self._trainer = run, run.at(voice.site), trainer
        self._voice, self._beside = voice, beside
        self._counts, self._digests = counts, digests
        self._outgoing = Outgoing(state, run.outer.codec)
        self._sending: dict[str, str] = {}  # messages by the base that they are to

    def _base(self, fragment: str) -> str:
        """The global weights that a fragment is trained from."""
        version = self._trainer.progress.parts[fragment].version
        return base(fragment, version, self._digests[fragment])

    def share(self, fragment: str) -> float:
        """Of the model, by its size: as much of what was trained is counted as the fragment's."""
        return self._counts[fragment] / sum(self._counts.values())

    def has_sent(self, fragment: str) -> bool:
        """Whether something to the fragment's base was said already."""
        to = self._base(fragment)
        return to in self._sending or self._outgoing.was_taken(to)

    def is_said(self, fragment: str) -> bool:
        """Whether what is out was said, now at the latest; waits, where it is being encoded."""
        self._say(fragment)
        return self.has_sent(fragment)

    def restore(self, fragment: str) -> None:
        """Encode what is out, from the weights as they were when it was taken, unless it was said or is
        there.
        """
        to, size = self._base(fragment), self._counts[fragment]
        if self.has_sent(fragment) or self._beside.knows(to) or self._outgoing.find(to):
            return
        found = self._trainer.pseudo_gradient(fragment)
        vector = list(chunks(found)) if self._beside.apart else chunks(found)
        self._beside.do(to, lambda: self._outgoing.encode(to, vector, size))
        self.look()

    def look(self) -> None:
        """Say what is encoded by now, and note what the site's agent has taken.

        Raises:
            UserError: it refused something.
            CodecError, OSError: something could not be encoded.
        """
        self._look_whether_sent()
        for fragment, part in self._trainer.progress.parts.items():
            to = self._base(fragment)
            if part.out is not None and (self._beside.is_done(to) or not self._beside.knows(to)):
                self._say(fragment)

    def _say(self, fragment: str) -> None:
        """Say what is out, if it was not said and is not gone; waits, where it is being encoded."""
        to, out = self._base(fragment), self._trainer.progress.parts[fragment].out
        if out is None or self.has_sent(fragment):
            return
        found = self._beside.take(to) if self._beside.knows(to) else self._outgoing.find(to)
        if found is not None:
            self._sending[to] = self._send(fragment, out, found)

    def _send(self, fragment: str, out: Brought, encoded: Encoded) -> str:
        version = self._trainer.progress.parts[fragment].version
        digest, site, share = self._digests[fragment], self._site, self.share(fragment)
        said = Contributed(
            run=self._run.run,
            fragment=fragment,
            base=version,
            site=site.site,
            attempt=0,
            digest=digest,
            nonce=nonce_of(self._run.run, fragment, version, digest, site.site),
            blob=encoded.ref,
            size=encoded.size,
            tokens=max(1, round(out.tokens * share)),
            steps=out.steps,
            core_seconds=math.ceil(out.seconds * site.all_cores * share),
            gpu_seconds=math.ceil(out.seconds * site.all_gpus * share),
        )
        again = self._beside.apart or len(self._counts) > 1  # it may be wanted
        return self._voice.say(said, encoded.path, move=not again)

    def _look_whether_sent(self) -> None:
        """A contribution that the site's agent has taken need not be said again, whatever happens."""
        waiting = set(self._voice.up.waiting()) if self._sending else set()
        for to, name in list(self._sending.items()):
            if name in waiting:
                continue
            why = self._voice.up.refusal(name)
            if why is not None:
                raise UserError(f"the contribution to {to} was refused: {why}")
            self._outgoing.taken(to)
            del self._sending[to]

    def settle(self) -> None:
        """Wait for what is being encoded, and say it: nothing that is out is lost with this process."""
        for fragment, part in self._trainer.progress.parts.items():
            if part.out is not None:
                self._say(fragment)

    def forget(self, fragment: str) -> None:
        """The run was begun anew: what was sent to bases of the same names was sent to others."""
        self._outgoing.forget(fragment)

    def sweep(self) -> None:
        """A checkpoint was written: forget what was encoded to bases before those that it holds."""
        self._outgoing.sweep({self._base(fragment) for fragment in self._counts})
