"""Whether a site said what the hub hands over as its words: signatures, checked by keys pinned in a file."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ayni.client.errors import AyniError

if TYPE_CHECKING:
    from ayni.client.channels import ChannelMessage

_ATTEMPTS = 1000  # whose last message is remembered
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
    _last: dict[tuple[str, str, str], tuple[int, int]] = field(default_factory=dict)
    _known: dict[str, str] = field(default_factory=dict)  # keys, as the file was …
    _mark: tuple[int, ...] | None = None  # … when it had this one
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
        key = self._key(site)
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
        self._in_order((channel, site, sender.attempt), number, message.sequence)

    def _in_order(self, attempt: tuple[str, str, str], number: int, sequence: int) -> None:
        """An attempt's messages stand in the channel in the order of their numbers, each once.

        Held against the last of them, of as many attempts as are remembered. The same message may be
        looked at once more.
        """
        last, at = self._last.pop(attempt, (number, sequence))
        fits = (number > last, number < last) == (sequence > at, sequence < at)
        self._last[attempt] = max((last, at), (number, sequence)) if fits else (last, at)
        if len(self._last) > _ATTEMPTS:
            del self._last[next(iter(self._last))]
        if not fits:
            raise Unsigned(
                f"{attempt[1]} said message {number} of this attempt before, or elsewhere"
            )

    def _key(self, site: str) -> str:
        """The pinned key; the file is read again only when it has changed."""
        mark = _mark(self.path)
        if mark is None or mark != self._mark:
            self._known, self._mark = {}, mark
        if site not in self._known:
            self._known[site] = self.key_of(site)
        return self._known[site]

    def key_of(self, site: str) -> str:
        """The key that is pinned for a site; pins the hub's where there is none.

        Raises:
            Unsigned: there is none, and the hub has none.
            AyniError: the file cannot be read or written.
        """
        with self._lock:
            pinned = read_keys(self.path)
            if site not in pinned:
                found = self.ask(site)
                if found is None or not _KEY.fullmatch(found):
                    raise Unsigned(f"{site} has published no key; its operator updates the agent")
                pinned[site] = found
                write_keys(self.path, pinned)
            return pinned[site]


# --- the file of public keys ------------------------------------------------------------------


def read_keys(path: Path) -> dict[str, str]:
    """Public keys by the name of who has them, as a file says; none where there is no file.

    Raises:
        AyniError: it cannot be read, or holds something else.
    """
    try:
        found = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise AyniError(f"{path} cannot be read: {error}; mend or remove it") from error
    keys = list(found.values()) if isinstance(found, dict) else [None]
    if not all(isinstance(key, str) and _KEY.fullmatch(key) for key in keys):
        raise AyniError(f'{path}: write {{"NAME": "64 hexadecimal digits", …}}')
    return dict(found)


def write_keys(path: Path, keys: Mapping[str, str]) -> None:
    """Put public keys into a file, whole or not at all.

    Raises:
        AyniError: it cannot be written.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_text(json.dumps(keys, indent=2, sort_keys=True) + "\n")
        part.replace(path)
    except OSError as error:
        raise AyniError(f"{path} cannot be written: {error.strerror}") from error


def _mark(path: Path) -> tuple[int, ...] | None:
    """What changes with a file; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
