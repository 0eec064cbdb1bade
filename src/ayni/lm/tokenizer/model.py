"""A tokenizer's files, as `tokenizers` and `transformers` load them: made from merges, or kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from ayni.errors import UserError
from ayni.lm.files import written
from ayni.lm.tokenizer.bpe import Merge
from ayni.lm.tokenizer.pretokens import WORD
from ayni.terminal import one_line

FILE = "tokenizer.json"
CONFIG = "tokenizer_config.json"
END = "<|endoftext|>"
PAD = "<|padding|>"
#: The first ids. Those of a conversation are there from the start: a vocabulary is hard to widen later.
SPECIAL = (END, PAD, "<|im_start|>", "<|im_end|>")
BYTES = 256
SMALLEST = len(SPECIAL) + BYTES
MAX_FILE = 64 << 20  # bytes
MAX_VOCABULARY = 1 << 20
MAX_CONFIG = 4 << 20
#: What a model's end of text is called in the families that are continued here, in this order.
_ENDS = ("<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>", "<|im_end|>")
_KEPT = (CONFIG, "special_tokens_map.json")


@dataclass(frozen=True)
class Loaded:
    """A tokenizer that was checked. `end` is the id that ends a document; `sha256` that of its file."""

    tokenizer: Tokenizer = field(repr=False)
    size: int
    end: int
    sha256: str


def byte_letters() -> list[str]:
    """How each byte is written in the file: printable ones as they are, others from U+0100 on (GPT-2)."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    letters = {value: chr(value) for value in plain}
    others = (value for value in range(BYTES) if value not in letters)
    letters |= {value: chr(0x100 + number) for number, value in enumerate(others)}
    return [letters[value] for value in range(BYTES)]


def document(merges: Sequence[Merge]) -> dict[str, Any]:
    """The content of `tokenizer.json`: special tokens first, then the bytes, then a token to each merge."""
    letters = byte_letters()

    def spelt(token: bytes) -> str:
        return "".join(letters[value] for value in token)

    tokens = [bytes([value]) for value in range(BYTES)] + [left + right for left, right in merges]
    vocabulary = {name: number for number, name in enumerate(SPECIAL)}
    vocabulary |= {spelt(token): number for number, token in enumerate(tokens, start=len(SPECIAL))}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [_special(number, name) for number, name in enumerate(SPECIAL)],
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {
                    "type": "Split",
                    "pattern": {"Regex": WORD},
                    "behavior": "Isolated",
                    "invert": False,
                },
                _byte_level(trim_offsets=True),
            ],
        },
        "post_processor": None,
        "decoder": _byte_level(trim_offsets=True),
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": vocabulary,
            "merges": [[spelt(left), spelt(right)] for left, right in merges],
        },
    }


def _special(number: int, name: str) -> dict[str, Any]:
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": number, "content": name, **flags, "special": True}


def _byte_level(trim_offsets: bool) -> dict[str, Any]:
    return {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": trim_offsets,
        "use_regex": False,
    }


def save(merges: Sequence[Merge], folder: Path) -> Path:
    """Write `tokenizer.json`, and what `transformers` wants beside it. Returns the former's path."""
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": None,
        "eos_token": END,
        "pad_token": PAD,
        "unk_token": None,
        "clean_up_tokenization_spaces": False,
        "model_max_length": 1 << 30,
    }
    for name, content in ((CONFIG, config), (FILE, document(merges))):
        with written(folder / name) as file:
            file.write(json.dumps(content, ensure_ascii=False, indent=1).encode() + b"\n")
    return folder / FILE


def load(path: Path, end: str | None = None) -> Loaded:
    """A tokenizer from its file, or from a folder with a `tokenizer.json`, of whatever origin.

    `end` names the token that ends a document; without it the usual names are tried.

    Raises:
        UserError: the file cannot be used, or has no such token.
    """
    path = path / FILE if path.is_dir() else path
    data = _bytes(path, MAX_FILE)
    try:
        tokenizer = Tokenizer.from_buffer(data)
    except Exception as error:  # the library raises nothing more exact
        raise UserError(
            one_line(
                f"{path}: no tokenizer that the library loads ({error}); name a tokenizer.json"
            )
        ) from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    size = tokenizer.get_vocab_size(with_added_tokens=True)
    highest = max(tokenizer.get_vocab(with_added_tokens=True).values(), default=-1) + 1
    if not 0 < max(size, highest) <= MAX_VOCABULARY:
        raise UserError(f"{path}: {max(size, highest)} tokens; at most {MAX_VOCABULARY} are taken")
    names = [end] if end else [*_configured(path.parent), *_ENDS]
    number = next((n for n in map(tokenizer.token_to_id, names) if n is not None), None)
    if number is None:
        raise UserError(
            f"{path}: no token {names[0] if end else 'that ends a document'}; name it with --end-token"
        )
    # What stands in a text is text, even if it reads <|endoftext|>.
    tokenizer.encode_special_tokens = True
    return Loaded(tokenizer, max(size, highest), number, hashlib.sha256(data).hexdigest())


def keep(checkpoint: Path, folder: Path, end: str | None = None) -> Loaded:
    """Take over the tokenizer of a base checkpoint, byte for byte, once it was checked.

    Raises:
        UserError: it cannot be used, or does not give back what it was given.
    """
    found = load(checkpoint, end)
    beside = checkpoint if checkpoint.is_dir() else checkpoint.parent
    source = beside / FILE if checkpoint.is_dir() else checkpoint
    sample = "Ñandejára, k’iche’, años: 1,5 €\n"
    ids = found.tokenizer.encode(sample, add_special_tokens=False).ids
    if found.tokenizer.decode(ids, skip_special_tokens=False).strip() != sample.strip():
        raise UserError(
            f"{source}: letters are lost on the way (ñ, á, €); choose another checkpoint"
        )
    copies = [(FILE, _bytes(source, MAX_FILE))]
    copies += [(n, _bytes(beside / n, MAX_CONFIG)) for n in _KEPT if (beside / n).is_file()]
    for name, data in copies:
        with written(folder / name) as file:
            file.write(data)
    return found


def _configured(folder: Path) -> list[str]:
    """The end of text that the file beside the tokenizer names."""
    path = folder / CONFIG
    if not path.is_file():
        return []
    try:
        said = json.loads(_bytes(path, MAX_CONFIG))
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"{path}: no JSON ({error}); mend it, or name the token with --end-token"
        ) from error
    token = said.get("eos_token") if isinstance(said, dict) else None
    if isinstance(token, dict):
        token = token.get("content")
    return [token] if isinstance(token, str) else []


def _bytes(path: Path, most: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; name a tokenizer.json or its folder") from error
    if len(data) > most:
        raise UserError(f"{path}: more than {most} bytes; this is no tokenizer")
    return data
