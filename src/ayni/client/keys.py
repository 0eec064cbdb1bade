"""Whether a site said what the hub hands over as its words: signatures, checked by keys pinned in a file."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ayni.client.errors import AyniError

if TYPE_CHECKING:
    from ayni.client.channels import ChannelMessage

_KEY = re.compile(r"[0-9a-f]{64}")


class Unsigned(ValueError):
    """A message that its site has not signed as it is; the text says what is wrong with it."""


@dataclass
class SiteKeys:
    """The public keys of sites, as a JSON file says: `{"SITE": "64 hexadecimal digits", …}`.

    A site that is not in the file gets its line when its first message is checked, with the key that
    the hub has then, and keeps it: from there on the hub cannot speak for the site. Who wants to
    believe the hub not even once writes the file before, with keys that the operators read to them
    (`ayni site key show`). A site with a new key is refused until somebody has put that into its line.
    May be used by several threads.

    Attributes:
        path: the file.
        ask: the key that the hub has of a site, if any.
        refused: how many messages were, by site.
    """

    path: Path
    ask: Callable[[str], str | None]
    refused: dict[str, int] = field(default_factory=dict)
    _heard: dict[tuple[str, str, int], int] = field(default_factory=dict)  # at which sequence
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def check(self, project: str, channel: str, message: ChannelMessage) -> None:
        """Hold a message that a site is said to have sent against the site's pinned key.

        Raises:
            Unsigned: it has no signature, one that does not hold, or it is said a second time.
            AyniError: the file of keys cannot be read or written.
        """
        site = message.sender.site or ""
        with self._lock:
            try:
                self._check(project, channel, site, message)
            except Unsigned:
                self.refused[site] = self.refused.get(site, 0) + 1
                raise

    def _check(self, project: str, channel: str, site: str, message: ChannelMessage) -> None:
        from ayni.signatures import Said, holds

        sender, number = message.sender, message.number
        if not (site and sender.task and sender.attempt):
            raise Unsigned("no task of a site is named as its sender")
        if message.signature is None or number is None:
            raise Unsigned(f"{site} has not signed it: is its agent older than signatures?")
        key = self.key_of(site)
        said = Said(
            project=project,
            channel=channel,
            site=site,
            task=sender.task,
            attempt=sender.attempt,
            number=number,
            kind=message.kind,
            body=message.body,
            blob=message.blob.sha256 if message.blob else None,
        )
        if not holds(said, message.signature, key):
            raise Unsigned(
                f"the signature of {site} does not hold: it was changed on the way, or the site has "
                f"another key than {self.path} says; ask its operator for 'ayni site key show'"
            )
        first = self._heard.setdefault((channel, sender.attempt, number), message.sequence)
        if first != message.sequence:  # the same once more is looked at once more
            raise Unsigned(f"{site} said message {number} of this attempt before")

    def key_of(self, site: str) -> str:
        """The key that is pinned for a site; pins the hub's where there is none.

        Raises:
            Unsigned: there is none, and the hub has none.
            AyniError: the file cannot be read or written.
        """
        with self._lock:
            pinned = self._read()
            if site not in pinned:
                found = self.ask(site)
                if found is None or not _KEY.fullmatch(found):
                    raise Unsigned(f"{site} has published no key; its operator updates the agent")
                pinned[site] = found
                self._write(pinned)
            return pinned[site]

    def _read(self) -> dict[str, str]:
        try:
            found = json.loads(self.path.read_text())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise AyniError(f"{self.path} cannot be read: {error}; mend or remove it") from error
        keys = list(found.values()) if isinstance(found, dict) else [None]
        if not all(isinstance(key, str) and _KEY.fullmatch(key) for key in keys):
            raise AyniError(f'{self.path}: write {{"SITE": "64 hexadecimal digits", …}}')
        return dict(found)

    def _write(self, pinned: dict[str, str]) -> None:
        part = self.path.with_name(f".{self.path.name}.part")
        try:
            part.write_text(json.dumps(pinned, indent=2, sort_keys=True) + "\n")
            part.replace(self.path)
        except OSError as error:
            raise AyniError(f"{self.path} cannot be written: {error.strerror}") from error
