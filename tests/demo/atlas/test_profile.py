"""The profile of a text: what it counts, and that it stands alone."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ayni.demo.atlas import profile as script
from ayni.demo.atlas.corpus import languages
from ayni.demo.atlas.profile import UnusableInput, main, profile


def test_a_profile_counts_ngrams_with_the_edges_of_words() -> None:
    found = profile("Ab ab, b!", "xx")
    assert (found["letters"], found["words"], found["types"]) == (5, 3, 2)
    assert found["alphabet"] == "ab"
    assert found["ngrams"] == {
        "b": 0.6,
        "a": 0.4,
        "b_": 0.375,
        "_a": 0.25,
        "ab": 0.25,
        "_ab": 0.4,
        "ab_": 0.4,
        "_b": 0.125,
        "_b_": 0.2,
    }


def test_composed_and_decomposed_letters_and_all_apostrophes_are_the_same() -> None:
    one, other = profile("ñandú k'op Kʼop", "xx"), profile("n\u0303andu\u0301 K’OP k‘op", "xx")
    assert one["ngrams"] == other["ngrams"]


@given(st.text())
def test_any_text_gives_shares_or_a_clear_error(text: str) -> None:
    try:
        found = profile(text, "xx")
    except UnusableInput as error:
        assert "letters" in str(error)
    else:
        assert 0 < len(found["ngrams"]) <= script.KEPT
        assert all(0 < share <= 1 for share in found["ngrams"].values())
        json.dumps(found, ensure_ascii=False).encode()


def test_every_profile_is_a_small_aggregate() -> None:
    for language in languages():
        size = len(json.dumps(profile(language.text, language.id), ensure_ascii=False).encode())
        assert size < 16 * 1024, language.id


def test_the_script_needs_nothing_but_a_bare_interpreter(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("Kom pu ce mogeley", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-I", "-S", script.__file__, "text", "out.json", "arn_Latn"],
        cwd=tmp_path,
        env={"PATH": "/usr/bin", "LC_ALL": "C"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("arn_Latn: 14 letters in 4 words")
    assert json.loads((tmp_path / "out.json").read_text("utf-8"))["language"] == "arn_Latn"


@pytest.mark.parametrize(
    ("content", "language", "reason"),
    [
        (b"", "xx", "no word"),
        (b"123 ... ''' \x00", "xx", "no word"),
        (b"abc \xff", "xx", "not UTF-8 at byte 4"),
        (None, "xx", "No such file"),
        (b"abc", "../etc", "letters, digits"),
        (b"abc", "", "letters, digits"),
    ],
)
def test_unusable_input_ends_with_one_line_and_code_2(
    content: bytes | None,
    language: str,
    reason: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if content is not None:
        (tmp_path / "text").write_bytes(content)
    assert main([str(tmp_path / "text"), str(tmp_path / "out.json"), language]) == 2
    said = capsys.readouterr()
    assert reason in said.err
    assert said.err.count("\n") == 1
    assert not (tmp_path / "out.json").exists()


def test_wrong_arguments_show_the_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["text"]) == 2
    assert capsys.readouterr().err.startswith("usage:")
