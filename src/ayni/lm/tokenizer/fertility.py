"""How many tokens a tokenizer makes of a word, by language: what each language pays for its text."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tokenizers import Tokenizer

from ayni.lm.corpus.documents import Document

BATCH = 1 << 20  # characters encoded at once


@dataclass
class Fertility:
    """Of one language. Words are what spaces part; where a script has none, bytes tell more."""

    documents: int = 0
    words: int = 0
    bytes: int = 0
    tokens: int = 0

    @property
    def tokens_per_word(self) -> float:
        return self.tokens / max(1, self.words)

    @property
    def bytes_per_token(self) -> float:
        return self.bytes / max(1, self.tokens)


def fertility(tokenizer: Tokenizer, documents: Iterable[Document]) -> dict[str, Fertility]:
    """The figures by language, in the order of their tags."""
    found: dict[str, Fertility] = {}
    batch: list[Document] = []
    waiting = 0
    for document in documents:
        batch.append(document)
        waiting += len(document.text)
        if waiting >= BATCH:
            _add(tokenizer, batch, found)
            batch, waiting = [], 0
    _add(tokenizer, batch, found)
    return dict(sorted(found.items()))


def _add(tokenizer: Tokenizer, batch: list[Document], found: dict[str, Fertility]) -> None:
    encoded = tokenizer.encode_batch_fast([d.text for d in batch], add_special_tokens=False)
    for document, encoding in zip(batch, encoded, strict=True):
        one = found.setdefault(document.language, Fertility())
        one.documents += 1
        one.words += len(document.text.split())
        one.bytes += len(document.text.encode())
        one.tokens += len(encoding.ids)
