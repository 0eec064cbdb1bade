"""Texts for the benchmark, as bytes: what each site reads, and what is held out."""

from __future__ import annotations

import hashlib
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ayni.errors import UserError
from ayni.lm.corpus.documents import Tally
from ayni.lm.corpus.read import read, sources
from ayni.lm.corpus.shards import Joined, Shards

PACKAGE = "libreoffice-help-es"  # 5.5 MB of text in 2,560 documents
HELD_OUT = 60  # one document in so many
END = 0  # the byte that ends a document; no text has it


@dataclass(frozen=True)
class Texts:
    """Documents as bytes in memory; what `ayni.lm.inner.order.Documents` asks for."""

    names: list[str]  # of the languages
    texts: list[bytes]
    numbers: list[int]  # of each document's language

    def __len__(self) -> int:
        return len(self.texts)

    def tokens(self, i: int) -> Any:
        return np.frombuffer(self.texts[i], np.uint8)

    def language(self, i: int) -> str:
        return self.names[self.numbers[i]]

    @cached_property
    def lengths(self) -> Any:
        return np.array([len(text) for text in self.texts])

    @cached_property
    def language_numbers(self) -> Any:
        return np.array(self.numbers)


@dataclass(frozen=True)
class Corpus:
    """`sites`: what each trains on; `heldout`: what all are judged by; `together`: of all sites."""

    sites: list[Any]  # `ayni.lm.inner.order.Documents`
    heldout: Any
    together: Any
    unit: str = "byte"


def joined(parts: list[Texts]) -> Texts:
    """All documents in one place."""
    names = sorted({name for part in parts for name in part.names})
    numbers = [names.index(part.language(i)) for part in parts for i in range(len(part))]
    return Texts(names, [text for part in parts for text in part.texts], numbers)


def from_folder(folder: Path, sites: int, *, split: bool) -> Corpus:
    """The texts beneath a folder, dealt to the sites by hash; or, `split`, a subfolder to a site."""
    if split:
        folders = sorted(path for path in folder.iterdir() if path.is_dir())
        if len(folders) != sites:
            raise UserError(
                f"{folder} has {len(folders)} subfolders: --split takes {sites}, a site each"
            )
        dealt = [_documents(path) for path in folders]
    else:
        dealt = [[] for _ in range(sites)]
        for language, text in _documents(folder):
            dealt[_hash(b"site", text) % sites].append((language, text))
    kept = [_texts([d for d in one if _hash(b"fold", d[1]) % HELD_OUT]) for one in dealt]
    held = _texts([d for one in dealt for d in one if not _hash(b"fold", d[1]) % HELD_OUT])
    return Corpus(kept, held, joined(kept))


def from_shards(folders: list[Path]) -> Corpus:
    """Tokens that `ayni lm corpus pack` made, a folder to a site."""
    sites = [Shards(folder) for folder in folders]
    return Corpus(sites, Joined(folders, "heldout"), Joined(folders), "token")


def fetched(package: str = PACKAGE) -> Corpus:
    """The texts of a Debian package, dealt to three sites; nothing of it stays."""
    with tempfile.TemporaryDirectory(prefix="ayni-bench-") as place:
        try:
            subprocess.run(["apt-get", "download", "-qq", package], cwd=place, check=True)
            [archive] = Path(place).glob("*.deb")
            subprocess.run(["dpkg-deb", "-x", archive, "files"], cwd=place, check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise UserError(
                f"{package} cannot be fetched ({error}): name texts by --corpus"
            ) from error
        return from_folder(Path(place) / "files" / "usr/share", 3, split=False)


def _documents(folder: Path) -> list[tuple[str, bytes]]:
    tally = Tally()
    found = read(sources([folder]), tally)
    return [(d.language, d.text.replace("\0", "").encode() + bytes([END])) for d in found]


def _texts(documents: list[tuple[str, bytes]]) -> Texts:
    names = sorted({language for language, _ in documents})
    numbers = [names.index(language) for language, _ in documents]
    return Texts(names, [text for _, text in documents], numbers)


def _hash(purpose: bytes, text: bytes) -> int:
    digest = hashlib.blake2b(text, digest_size=8, key=purpose).digest()
    return int.from_bytes(digest, "little")
