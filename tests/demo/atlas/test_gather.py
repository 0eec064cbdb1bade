"""From all texts to the picture, and what happens when profiles are not what they should be."""

import json
import re
import struct
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from ayni.demo.atlas import profile
from ayni.demo.atlas.corpus import languages, metadata
from ayni.demo.atlas.gather import main

# What the method must reach: three in four; neighbours drawn at random reach one in twelve.
THRESHOLD = 0.75


@pytest.fixture(scope="module")
def atlas(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The atlas of all texts, made as the demo's tasks make it."""
    folder = tmp_path_factory.mktemp("atlas")
    (folder / "profiles").mkdir()
    for language in languages():
        text = folder / "text"
        text.write_text(language.text, encoding="utf-8")
        profile.run(text, folder / "profiles" / f"{language.id}.json", language.id)
    (folder / "meta.json").write_text(json.dumps(metadata(languages())), encoding="utf-8")
    assert main([str(folder / part) for part in ("profiles", "meta.json", "out")]) == 0
    return folder / "out"


@pytest.fixture(scope="module")
def record(atlas: Path) -> Any:
    return json.loads((atlas / "atlas.json").read_text("utf-8"))


def test_the_picture_is_a_valid_svg_and_a_png_that_a_readme_can_carry(atlas: Path) -> None:
    ET.parse(atlas / "atlas.svg")
    png = (atlas / "atlas.png").read_bytes()
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack_from(">II", png, 16) == (1600, 1810)
    assert len(png) < 900_000


def test_every_language_is_named_in_the_picture(atlas: Path, record: Any) -> None:
    drawn = "".join(ET.parse(atlas / "atlas.svg").getroot().itertext())
    for fact in record["languages"].values():
        assert fact["autonym"].split(" (")[0] in drawn


def test_relatives_find_each_other(record: Any) -> None:
    kinship = record["kinship"]
    assert kinship["counted"] >= 90
    assert kinship["share"] >= THRESHOLD
    assert kinship["chance"] < 0.1


@pytest.mark.parametrize(
    ("group", "at_least"), [("Mayas", 9), ("Quechuas", 13), ("Criollas francesas", 4)]
)
def test_known_families_stand_side_by_side(record: Any, group: str, at_least: int) -> None:
    around = [record["languages"][key]["group"] for key in record["tree"]["order"]]
    longest = run = 0
    for other in around:
        run = run + 1 if other == group else 0
        longest = max(longest, run)
    assert longest >= at_least


def test_the_record_holds_the_whole_tree(record: Any) -> None:
    ids = {language.id for language in languages()}
    assert set(record["tree"]["order"]) == set(record["languages"]) == ids
    tips = re.findall(r"[(,](\w+):", record["tree"]["newick"])
    assert sorted(tips) == sorted(ids)
    assert all(len(fact["nearest"]) == 3 for fact in record["languages"].values())


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A folder with four good profiles and metadata."""
    (tmp_path / "profiles").mkdir()
    for key, text in {"aa": "kai pai", "bb": "kai rai", "cc": "tzotz", "dd": "tzetz"}.items():
        content = json.dumps(profile.profile(text, key))
        (tmp_path / "profiles" / f"{key}.json").write_text(content, encoding="utf-8")
    (tmp_path / "meta.json").write_text("{}", encoding="utf-8")
    return tmp_path


def run(folder: Path) -> int:
    return main([str(folder / part) for part in ("profiles", "meta.json", "out")])


def test_languages_of_which_nothing_is_known_are_drawn_by_their_id(small: Path) -> None:
    assert run(small) == 0
    assert ">aa</text>" in (small / "out" / "atlas.svg").read_text("utf-8")


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("profiles/x.json", b"", "not JSON"),
        ("profiles/x.json", b"\xff", "not JSON"),
        ("profiles/x.json", b"[" * 100_000, "not JSON"),
        ("profiles/x.json", b"[]", "format"),
        ("profiles/x.json", {"language": "../x"}, "identifier"),
        ("profiles/x.json", {"language": "aa"}, "second profile"),
        ("profiles/x.json", {"ngrams": {}}, "shares"),
        ("profiles/x.json", {"ngrams": {"a": float("nan")}}, "shares"),
        ("profiles/x.json", {"ngrams": {"a": "1"}}, "shares"),
        ("profiles/x.json", {"ngrams": {"a": 10**400}}, "shares"),
        ("profiles/x.json", {"ngrams": {"a": -1}}, "shares"),
        ("meta.json", b'{"aa": 1}', "object"),
        ("meta.json", b'{"aa": {"autonym": 1}}', "aa.autonym"),
        ("meta.json", b'{"aa": {"autonym": "\\u0000"}}', "aa.autonym"),
        ("meta.json", b'{"aa": {"autonym": "\\ud800"}}', "aa.autonym"),
    ],
)
def test_a_bad_file_is_named_in_one_line_with_code_2(
    small: Path,
    name: str,
    content: bytes | dict[str, object],
    reason: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if isinstance(content, dict):
        good = {"format": profile.FORMAT, "language": "xx", "ngrams": {"a": 1}}
        content = json.dumps(good | content).encode()
    (small / name).write_bytes(content)
    assert run(small) == 2
    said = capsys.readouterr().err
    assert reason in said
    assert Path(name).name in said
    assert said.count("\n") == 1
    assert not (small / "out").exists()


def test_too_few_profiles_a_missing_folder_and_wrong_arguments_end_with_code_2(
    small: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for key in ("aa", "bb"):
        (small / "profiles" / f"{key}.json").unlink()
    assert run(small) == 2
    assert "at least 3" in capsys.readouterr().err
    assert main([str(small / "nowhere"), str(small / "meta.json"), str(small)]) == 2
    assert "not a folder" in capsys.readouterr().err
    assert main([]) == 2
    assert capsys.readouterr().err.startswith("usage:")


def test_a_place_that_cannot_be_written_is_named(
    small: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (small / "out").write_text("a file is in the way", encoding="utf-8")
    assert run(small) == 2
    assert "writable OUT" in capsys.readouterr().err
