"""The atlas's data, laid out as a network has it: what stays at home, and what may travel."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from ayni.demo.alliance import PROJECT, SITE_OF
from ayni.demo.atlas import profile
from ayni.demo.atlas.corpus import Language, languages, metadata

LICENCE = "OFL-1.1"  # of the package gflanguages; the passages are public documents
RELEASE_LIMIT = "256KiB"


def dataset_name(language: Language) -> str:
    return language.id.lower().replace("_", "-")


@dataclass(frozen=True)
class Layout:
    """Folders ready to be offered: `home[site]` are datasets' folders, `open` goes to the hub."""

    home: dict[str, list[Path]]
    open: Path

    @property
    def staying(self) -> int:
        return sum(len(folders) for folders in self.home.values())


def lay_out(folder: Path) -> Layout:
    """Write every text where it belongs: a member's own beneath its site, the others apart."""
    home: dict[str, list[Path]] = {site: [] for site in SITE_OF.values()}
    for language in languages():
        if language.member:
            site = SITE_OF[language.member]
            place = folder / site / dataset_name(language)
            home[site].append(place)
        else:
            place = folder / "open" / "texts" / dataset_name(language)
        place.mkdir(parents=True, exist_ok=True)
        (place / "text.txt").write_text(language.text, "utf-8")
    code = folder / "open" / "code"
    code.mkdir(parents=True, exist_ok=True)
    (code / "profile.py").write_bytes(Path(profile.__file__).read_bytes())
    (code / "languages.json").write_text(json.dumps(metadata(languages())), "utf-8")
    return Layout(home, folder / "open")


def open_cards() -> list[dict[str, object]]:
    """The open texts as datasets of the project."""
    return [
        {
            "name": dataset_name(language),
            "prefix": f"texts/{dataset_name(language)}",
            "version": "2025",
            "licence": LICENCE,
            "title": f"{language.name}: passages",
            "release": "anything",
            "release_limit": 0,
        }
        for language in languages()
        if not language.member
    ]


def parameters() -> list[dict[str, str]]:
    """One entry to a language: where its text is, and what it is called."""
    return [
        {
            "language": language.id,
            "text": (
                f"ayni://{SITE_OF[language.member]}/{dataset_name(language)}/text.txt"
                if language.member
                else f"ayni://{PROJECT}/texts/{dataset_name(language)}/text.txt"
            ),
        }
        for language in languages()
    ]
