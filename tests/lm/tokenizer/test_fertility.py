"""What each language pays for its text."""

from __future__ import annotations

from pathlib import Path

import pytest

from ayni.lm.corpus.documents import Document
from ayni.lm.tokenizer import fertility, model


@pytest.mark.parametrize("batch", [1, 1 << 20])
def test_tokens_words_and_bytes_are_counted_by_language(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    monkeypatch.setattr(fertility, "BATCH", batch)
    model.save([(b"u", b"n"), (b"un", b"o")], tmp_path)
    texts = [("uno uno", "es"), ("ñ", "es"), ("huk", "quy")]
    found = fertility.fertility(
        model.load(tmp_path).tokenizer, (Document(text, language, "x") for text, language in texts)
    )
    assert list(found) == ["es", "quy"]
    assert found["es"] == fertility.Fertility(documents=2, words=3, bytes=9, tokens=1 + 2 + 2)
    assert found["quy"].tokens_per_word == 3
    assert found["quy"].bytes_per_token == 1


def test_a_language_without_words_pays_nothing() -> None:
    assert fertility.Fertility().tokens_per_word == 0
    assert fertility.Fertility().bytes_per_token == 0
