"""Who holds which texts: Spanish everywhere, a country's own languages at its site and nowhere else."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from ayni.demo import udhr
from ayni.demo.model import holdings
from ayni.demo.model.holdings import lay_out

pytest.importorskip("regex")
from ayni.lm.corpus import read
from ayni.lm.corpus.documents import Tally


def languages(folder: Path) -> dict[str, int]:
    """Documents by language, as `ayni lm corpus` reads the folder."""
    tally = Tally()
    list(read.read(read.sources([folder], {}, None), tally))
    assert not tally.broken
    return dict(tally.documents)


def page(code: str, tag: str) -> bytes:
    text = "".join(f"<article>{code} {n}</article>" for n in range(3))
    return (
        f'<html data-code="x" data-iso6393="{code}" dir="ltr" lang="{tag}">{text}</html>'.encode()
    )


def archive(path: Path) -> Path:
    pages = {"spa": "es", "arn": "arn", "yua": "yua", "por_BR": "pt-BR", "deu": "de"}
    with tarfile.open(path, "w:gz") as tar:
        for name, tag in pages.items():
            data = page(name[:3], tag)
            entry = tarfile.TarInfo(f"package/{name}.html")
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return path


def test_the_declaration_s_own_languages_are_at_their_country_s_site_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(udhr, "fetch", lambda folder: archive(tmp_path / "udhr.tgz"))
    held = lay_out(tmp_path / "texts")
    found = {site: languages(place) for site, place in held.folders.items()}
    assert found == {
        "santiago": {"es": 3, "arn": 3},
        "mexico": {"es": 3, "yua": 3},
        "bogota": {"es": 3},
    }
    assert not held.why_not
    assert held.shared == {"es"}


def test_where_the_declaration_cannot_be_had_the_atlas_s_passages_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(folder: Path) -> Path:
        raise udhr.NotHere("there is no npm on this machine")

    monkeypatch.setattr(udhr, "fetch", refuse)
    held = lay_out(tmp_path)
    found = {site: set(languages(place)) for site, place in held.folders.items()}
    assert set.intersection(*found.values()) == {"es"}
    assert "arn" in found["santiago"] and "yua" in found["mexico"] and "guc" in found["bogota"]
    assert "npm" in held.why_not and held.licence == holdings.PASSAGES_LICENCE
