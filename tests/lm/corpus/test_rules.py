"""How a folder is read."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ayni.errors import UserError
from ayni.lm.corpus import rules
from ayni.lm.corpus.documents import Unreadable
from ayni.lm.corpus.rules import Override, Rules


def test_names_say_language_and_group() -> None:
    read = Rules(names="{group}.{language}.txt")
    assert read.language_of("a/b/acta-7.spa.txt", None) == "es"
    assert read.group_of("a/b/acta-7.spa.txt", None) == "acta-7"
    with pytest.raises(Unreadable, match="no language: say it with --rule language=CODE"):
        read.language_of("acta-7.txt", None)


def test_a_pattern_with_a_slash_is_of_the_whole_path() -> None:
    read = Rules(names="{language}/**/{group}.txt")
    assert read.language_of("quy/leyes/2020/a.txt", None) == "quy"
    assert read.group_of("quy/leyes/2020/a.txt", None) == "a"
    assert read.group_of("x/quy/a.txt", None) is None


def test_the_order_is_override_then_document_then_name_then_folder() -> None:
    read = Rules(
        language="en",
        names="{language}_*.html",
        files=(Override(match="wrong_*.html", language="gn"),),
    )
    assert read.language_of("wrong_1.html", "es") == "gn"
    assert read.language_of("quy_1.html", "es") == "es"
    assert read.language_of("quy_1.html", None) == "quy"
    assert read.language_of("index.html", "und") == "en"


def test_a_language_that_is_none_is_told_of_the_document() -> None:
    with pytest.raises(Unreadable, match="'english' is no language tag"):
        Rules().language_of("a.html", "english")


@given(st.text(max_size=30))
def test_any_pattern_is_taken_or_refused_in_words(text: str) -> None:
    try:
        rules.pattern(text)
    except ValueError as error:
        assert "write {language} and {group}" in str(error)


@pytest.mark.parametrize("name", ["rot13", "zip", "utf-7", "unicode_escape", "idna", "base64", ""])
def test_codecs_that_are_no_encodings_of_texts_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is no encoding of texts"):
        rules.codec(name)


@pytest.mark.parametrize(
    "name", ["utf-8", "Latin1", "windows-1252", "iso-8859-15", "macintosh", "UTF-16"]
)
def test_encodings_are_known_to_python(name: str) -> None:
    assert "a".encode(rules.codec(name))


def write(folder: Path, text: str) -> Path:
    (folder / rules.FILE).write_text(text)
    return folder


def test_what_is_given_goes_before_the_file(tmp_path: Path) -> None:
    write(
        tmp_path,
        'language = "es"\ngroup = "g"\n[fields]\ntext = "body"\n[[files]]\nmatch = "*.md"\n',
    )
    read = rules.load(tmp_path, {"language": "quy", "fields.group": "id"})
    assert (read.language, read.group) == ("quy", "g")
    assert (read.fields.text, read.fields.group, read.files[0].match) == ("body", "id", "*.md")


def test_another_file_goes_in_place_of_the_folders(tmp_path: Path) -> None:
    write(tmp_path, 'language = "es"')
    other = tmp_path / "other.toml"
    other.write_text('language = "gn"')
    assert rules.load(tmp_path, {}, other).language == "gn"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('language = "english"', "corpus.toml: language: 'english' is no language tag"),
        ("language = 3", "corpus.toml: language: Input should be a valid string"),
        ("colour = 1", "corpus.toml: colour: Extra inputs"),
        ('split = "page"', "corpus.toml: split: Input should be"),
        ('names = "{lang}.txt"', r"corpus.toml: names: \{lang\} in"),
        ('encoding = "zip"', "corpus.toml: encoding: 'zip' is no encoding"),
        ('fields = "text"', "corpus.toml: fields"),
        ("files = [1]", "corpus.toml: files.0"),
        ("language =", "corpus.toml: not TOML"),
    ],
)
def test_a_mistake_in_the_file_is_told_by_its_key(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        rules.load(write(tmp_path, text), {})


def test_a_mistake_in_what_is_given_is_told_by_its_key(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"--rule fields.texts: .*the keys are language, .*fields.text"
    ):
        rules.load(tmp_path, {"fields.texts": "a"})


def test_a_file_that_is_not_there_or_too_large_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No such file"):
        rules.load(tmp_path, {}, tmp_path / "none.toml")
    write(tmp_path, "#" * (rules.MAX_FILE + 1))
    with pytest.raises(UserError, match="this is no list of rules"):
        rules.load(tmp_path, {})
