"""The tokenizer's file: made, kept, loaded by the libraries that others use."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from ayni.errors import UserError
from ayni.lm.tokenizer import bpe, model
from ayni.lm.tokenizer.pretokens import pretokens
from tests.lm.tokenizer import reference

TEXT = """Todos los seres humanos nacen libres e iguales en dignidad y derechos y, dotados como están de
razón y conciencia, deben comportarse fraternalmente los unos con los otros. Mayma yvypóra ou ko yvy ári
iñapytl'yre ha eteĩcha tekoruvicharenda ha akatúape jeguerekópe. Konojel ri winaqib' ub'antajik ri
jun je ri konojel 1948, 10-XII.  \n\n"""
#: See test_pretokens.py.
KNOWN = st.one_of(
    st.text(st.characters(exclude_categories=["Cs", "Cn"], max_codepoint=0x2FFF)),
    st.lists(st.sampled_from([*TEXT.split(), " ", "\n", *model.SPECIAL])).map("".join),
)


@cache
def merges() -> tuple[bpe.Merge, ...]:
    words: dict[bytes, int] = {}
    for word in pretokens(TEXT):
        words[word.encode()] = words.get(word.encode(), 0) + 1
    return tuple(bpe.learn(words, 300))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    model.save(merges(), folder)
    return folder


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> Tokenizer:
    return model.load(folder).tokenizer


def spelt(token: bytes) -> str:
    return "".join(model.byte_letters()[value] for value in token)


@given(text=KNOWN)
def test_the_library_encodes_as_the_reference_does(tokenizer: Tokenizer, text: str) -> None:
    expected = [spelt(token) for token in reference.encode(text, merges())]
    assert tokenizer.encode(text).tokens == expected


@given(text=st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_comes_back_as_it_was(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text).ids, skip_special_tokens=False) == text


def test_special_tokens_come_first_then_bytes_then_merges(folder: Path) -> None:
    found = model.load(folder)
    assert [found.tokenizer.id_to_token(i) for i in range(4)] == list(model.SPECIAL)
    assert found.size == model.SMALLEST + len(merges())
    assert found.tokenizer.id_to_token(4 + ord("a")) == "a"
    left, right = merges()[0]
    assert found.tokenizer.id_to_token(model.SMALLEST) == spelt(left + right)
    assert found.end == 0


def test_a_special_token_that_stands_in_a_text_is_text(tokenizer: Tokenizer) -> None:
    assert min(tokenizer.encode("a<|endoftext|>b<|im_start|>").ids) >= len(model.SPECIAL)


def test_equal_merges_give_equal_files(folder: Path, tmp_path: Path) -> None:
    model.save(list(merges()), tmp_path)
    for name in (model.FILE, model.CONFIG):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


def test_transformers_loads_it(folder: Path) -> None:
    transformers = pytest.importorskip("transformers")
    loaded = transformers.AutoTokenizer.from_pretrained(folder)
    assert loaded.decode(loaded.encode(TEXT)) == TEXT
    assert (loaded.eos_token_id, loaded.pad_token_id) == (0, 1)
    assert len(loaded) == model.SMALLEST + len(merges())


def test_a_checkpoints_tokenizer_is_kept_byte_for_byte(folder: Path, tmp_path: Path) -> None:
    kept = model.keep(folder, tmp_path / "kept")
    assert kept.end == 0
    for name in (model.FILE, model.CONFIG):
        assert (tmp_path / "kept" / name).read_bytes() == (folder / name).read_bytes()
    assert model.keep(folder / model.FILE, tmp_path / "again").sha256 == kept.sha256


def changed(folder: Path, to: Path, **keys: object) -> Path:
    content = json.loads((folder / model.FILE).read_text())
    (to / model.FILE).write_text(json.dumps(content | keys))
    return to


def test_the_end_of_a_document_is_found_by_its_name(folder: Path, tmp_path: Path) -> None:
    changed(folder, tmp_path)
    (tmp_path / model.CONFIG).write_text('{"eos_token": {"content": "<|im_end|>"}}')
    assert model.load(tmp_path).end == 3
    assert model.load(tmp_path, "<|padding|>").end == 1
    with pytest.raises(UserError, match="no token <none>; name it with --end-token"):
        model.load(tmp_path, "<none>")
    (tmp_path / model.CONFIG).write_text("{")
    with pytest.raises(UserError, match=r"tokenizer_config.json: no JSON"):
        model.load(tmp_path)


def test_a_tokenizer_that_loses_letters_is_not_kept(folder: Path, tmp_path: Path) -> None:
    changed(folder, tmp_path, normalizer={"type": "StripAccents"}, decoder=None)
    changed(
        folder, tmp_path, normalizer={"type": "Sequence", "normalizers": [{"type": "Lowercase"}]}
    )
    with pytest.raises(UserError, match="letters are lost on the way"):
        model.keep(tmp_path, tmp_path / "kept")
    assert not (tmp_path / "kept").exists()


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[" * 10_000, b"\xff\xfe", b'{"model": {"type": "BPE"}}']
)
def test_what_is_no_tokenizer_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / model.FILE).write_bytes(content)
    with pytest.raises(UserError, match="no tokenizer that the library loads") as refused:
        model.load(tmp_path)
    assert "\n" not in str(refused.value)


def test_a_file_that_is_not_there_or_too_large_is_refused(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="No such file"):
        model.load(tmp_path)
    monkeypatch.setattr(model, "MAX_FILE", 10)
    with pytest.raises(UserError, match="more than 10 bytes"):
        model.load(folder)
    monkeypatch.undo()
    monkeypatch.setattr(model, "MAX_VOCABULARY", 10)
    with pytest.raises(UserError, match="at most 10 are taken"):
        model.load(folder)


def test_a_tokenizer_without_an_end_of_document_says_so(folder: Path, tmp_path: Path) -> None:
    content = json.loads((folder / model.FILE).read_text())
    for name in ("<|endoftext|>", "<|im_end|>"):
        content["model"]["vocab"][f"{name}x"] = content["model"]["vocab"].pop(name)
    changed(folder, tmp_path, model=content["model"], added_tokens=[])
    with pytest.raises(UserError, match="no token that ends a document; name it with --end-token"):
        model.load(tmp_path)
