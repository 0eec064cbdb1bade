"""A collection of one's own: who gets what of it, and what is said of one that will not do."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ayni.demo.model.holdings import HELD_OUT, NAME, Holdings, lay_out
from ayni.errors import UserError

pytest.importorskip("regex")
pytest.importorskip("pyarrow")
from ayni.demo.model import collection
from ayni.lm.corpus import read
from ayni.lm.corpus.documents import Tally

SITES = ("santiago", "mexico", "bogota")
SPANISH = 'language = "es"\n'


def text(words: str = "texto", paragraphs: int = 60) -> str:
    return "".join(f"{words} {n} {'y más ' * 5}\n\n" for n in range(paragraphs))


def write(place: Path, name: str, content: str | bytes) -> None:
    path = place / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """Thirty texts in Spanish, which will do."""
    for n in range(30):
        write(tmp_path / "mine", f"part{n % 4}/{n}.txt", text(f"texto {n}"))
    write(tmp_path / "mine", "corpus.toml", SPANISH)
    return tmp_path / "mine"


def dealt(corpus: Path) -> Holdings:
    return lay_out(corpus.parent / "dealt", corpus)


def refusal(corpus: Path) -> str:
    with pytest.raises(UserError) as caught:
        dealt(corpus)
    said = str(caught.value)
    assert "\n" not in said
    return said


def documents(held: Holdings) -> list[dict[str, int]]:
    """By language, at each site."""
    found = []
    for site in SITES:
        tally = Tally()
        list(read.read(read.sources([held.folders[site]], {}, None), tally))
        assert not tally.broken
        found.append(dict(tally.documents))
    return found


def test_a_collection_is_dealt_evenly_by_its_files_and_keeps_its_rules(mine: Path) -> None:
    write(mine, ".hidden.txt", "no")
    held = dealt(mine)
    assert documents(held) == [{"es": 10}, {"es": 10}, {"es": 10}]
    assert held.shared == {"es"} and held.held_out == HELD_OUT
    assert "30 documents in es" in held.source
    names = sorted(path.name for place in held.folders.values() for path in place.rglob("*.txt"))
    assert names == sorted(f"{n}.txt" for n in range(30))


def test_who_gets_which_file_depends_on_the_names_alone(mine: Path, tmp_path: Path) -> None:
    first = dealt(mine)
    again = lay_out(tmp_path / "again", mine)
    for site in SITES:
        one, other = first.folders[site], again.folders[site]
        assert {p.relative_to(one) for p in one.rglob("*")} == {
            p.relative_to(other) for p in other.rglob("*")
        }


def test_a_folder_with_a_site_s_name_is_that_site_s_and_has_rules_of_its_own(mine: Path) -> None:
    write(mine, "bogota/corpus.toml", 'names = "{language}/**"\n')
    for n in range(10):
        write(mine, f"bogota/pt/{n}.txt", text(f"um texto {n}"))
    for n in range(30):
        (mine / f"part{n % 4}" / f"{n}.txt").rename(mine / f"{n}.txt")
    (mine / "es").mkdir()
    for path in mine.glob("*.txt"):
        path.rename(mine / "es" / path.name)
    write(mine, "corpus.toml", 'names = "{language}/**"\n')
    held = dealt(mine)
    assert documents(held) == [{"es": 10}, {"es": 10}, {"es": 10, "pt": 10}]
    assert held.shared == {"es"}
    assert held.folders["santiago"].name == NAME


def test_of_a_large_collection_a_smaller_part_is_held_out(
    mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collection, "MOST_HELD_OUT", 1000)
    held = dealt(mine)
    assert 0 < held.held_out < HELD_OUT


def test_files_of_other_formats_are_left_where_they_are(mine: Path) -> None:
    write(mine, "part0/picture.png", b"\x89PNG")
    held = dealt(mine)
    assert not [p for place in held.folders.values() for p in place.rglob("*.png")]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "no text in"),
        ({"a.png": b"\x89PNG", "b.bin": b"\0"}, r"no text in .*\.png.*put files of text, HTML"),
        ({f"{n}.txt": b"\0\1" * 99 for n in range(9)}, "binary, not text; leave it out"),
        ({"one.txt": text()}, "has no text for mexico, bogota; give it more files"),
        ({f"{n}.txt": "texto" for n in range(9)}, r"15 bytes of text for santiago .* give it \d+"),
        ({f"{n}.txt": text(paragraphs=300) for n in range(3)}, "fewer than 5 documents"),
        ({f"{n}.txt": "texto " * 900 for n in range(15)}, "are held out"),
        ({"corpus.toml": "languages = 1", "a.txt": "b", "b.txt": "b", "c.txt": "b"}, "languages: "),
    ],
)
def test_a_collection_that_will_not_do_is_refused_with_the_remedy(
    files: dict[str, str | bytes], said: str, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    for name, content in ({"corpus.toml": SPANISH} | files).items():
        write(tmp_path / "mine", name, content)
    if not files:
        (tmp_path / "mine" / "corpus.toml").unlink()
        (tmp_path / "mine" / "empty").mkdir()
    with pytest.raises(UserError, match=said):
        dealt(tmp_path / "mine")


def test_where_nothing_says_the_language_the_place_to_say_it_is_named(mine: Path) -> None:
    (mine / "corpus.toml").unlink()
    said = refusal(mine)
    assert "the texts for santiago" in said and "no language" in said and "corpus.toml" in said


def test_a_wrong_rule_is_told_of_the_file_that_one_wrote(mine: Path) -> None:
    write(mine, "bogota/corpus.toml", "split = 3\n")
    write(mine, "bogota/a.txt", text())
    assert str(mine / "bogota" / "corpus.toml") in refusal(mine)


def test_a_file_that_cannot_be_read_is_named(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    really = Path.open

    def refuse(path: Path, *args: object, **kwargs: object) -> object:
        if path == mine / "part0" / "0.txt":
            raise PermissionError(13, "Permission denied")
        return really(path, *args, **kwargs)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", refuse)
    assert f"{mine}/part0/0.txt cannot be read (Permission denied); make it readable" in refusal(
        mine
    )


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_cannot_be_read_is_named(mine: Path) -> None:
    (mine / "part0").chmod(0)
    try:
        assert f"{mine}/part0 cannot be read" in refusal(mine)
    finally:
        (mine / "part0").chmod(0o700)


def test_two_texts_of_one_site_with_one_name_are_not_made_one(mine: Path) -> None:
    for n in range(30):
        write(mine, f"bogota/part{n % 4}/{n}.txt", text())
    assert "has the name of another text of bogota; rename it" in refusal(mine)
