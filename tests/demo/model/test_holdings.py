"""Who holds which texts: Spanish everywhere, a country's own languages at its site and nowhere else."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from ayni.demo import udhr
from ayni.demo.model import holdings
from ayni.demo.model.holdings import NAME, lay_out
from ayni.errors import UserError

pytest.importorskip("regex")
from ayni.lm.corpus import read
from ayni.lm.corpus.documents import Tally

SITES = ("santiago", "mexico", "bogota")


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


def test_a_collection_is_dealt_by_its_files_and_keeps_its_rules(tmp_path: Path) -> None:
    corpus = tmp_path / "mine"
    for n in range(30):
        place = corpus / f"part{n % 4}" / f"{n}.txt"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(f"texto {n}")
    (corpus / ".hidden").write_text("no")
    (corpus / "corpus.toml").write_text('language = "es"\n')
    held = lay_out(tmp_path / "texts", corpus)
    counts = {site: languages(place)["es"] for site, place in held.folders.items()}
    assert sum(counts.values()) == 30 and min(counts.values()) > 3


def test_a_folder_with_a_site_s_name_is_that_site_s(tmp_path: Path) -> None:
    for site, language in zip(SITES, ("es", "pt", "quy"), strict=True):
        (tmp_path / "mine" / site).mkdir(parents=True)
        (tmp_path / "mine" / site / "a.txt").write_text("texto")
        (tmp_path / "mine" / site / "corpus.toml").write_text(f'language = "{language}"\n')
    held = lay_out(tmp_path / "texts", tmp_path / "mine")
    found = [languages(held.folders[site]) for site in SITES]
    assert found == [{"es": 1}, {"pt": 1}, {"quy": 1}]
    assert held.folders["santiago"].name == NAME


def test_a_collection_that_leaves_a_site_without_texts_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "one.txt").write_text("texto")
    with pytest.raises(UserError, match=r"--corpus: .* has no file for .*more files"):
        lay_out(tmp_path / "texts", tmp_path / "mine")
