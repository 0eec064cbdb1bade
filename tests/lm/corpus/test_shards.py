"""Shards: packing, being cut off, reading, damage."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ayni.errors import UserError
from ayni.lm.corpus import heldout, pack, read, shards
from ayni.lm.corpus.documents import Document
from ayni.lm.corpus.shards import Joined, Origin, Shards
from ayni.lm.inner.order import Order
from ayni.lm.tokenizer import model

ORIGIN = Origin(member="CL", site="santiago")
SHARE = 0.3


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """Some hundred documents of three languages in several files, a few broken, some in groups."""
    folder = tmp_path / "texts"
    folder.mkdir()
    for name in ("b", "a", "c"):
        records: list[str] = []
        for number in range(60):
            text = "\n\n".join(f"abc {name} {number} {part} ñ" for part in range(number % 5 + 1))
            record: dict[str, Any] = {"text": text, "language": ("es", "quy", "gn")[number % 3]}
            if number % 4 == 0:
                record["group"] = f"g{number}"
            records.append(json.dumps(record))
        records[7] = "{"
        (folder / f"{name}.jsonl").write_text("\n".join(records))
    return folder


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Encode often, so that shards are written often."""
    monkeypatch.setattr(pack, "BATCH", 100)


def packer(texts: Path, out: Path, tokenizer: model.Loaded, **options: Any) -> pack.Packer:
    return pack.Packer(
        read.sources([texts]), out, tokenizer, ORIGIN, SHARE, **{"shard_tokens": 700, **options}
    )


def expected(texts: Path, fold: shards.Fold) -> Iterator[tuple[Document, str]]:
    from ayni.lm.corpus.documents import Tally

    for document in read.read(read.sources([texts]), Tally()):
        if part := getattr(heldout.split(document, SHARE), fold):
            yield document, part


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("fold", shards.FOLDS)
def test_every_document_is_found_by_its_number(
    texts: Path, tmp_path: Path, tokenizer: model.Loaded, fold: shards.Fold
) -> None:
    manifest = packer(texts, tmp_path / "out", tokenizer).run()
    assert len(manifest.shards) > 6
    found = Shards(tmp_path / "out", fold)
    wanted = list(expected(texts, fold))
    assert len(found) == len(wanted) > 40
    for number, (document, text) in enumerate(wanted):
        ids = found.tokens(number)
        assert ids[-1] == tokenizer.end
        assert tokenizer.tokenizer.decode(ids[:-1]) == text
        assert found.language(number) == document.language
        assert found.origin(number) == ORIGIN
        assert found.groups[number] == shards.group_number(document.group)
        assert found.lengths[number] == len(ids)
        assert found.manifest.languages[found.language_numbers[number]] == document.language
    amounts = found.manifest.amounts[fold]
    assert {k: a.documents for k, a in amounts.items()} == {
        language: sum(d.language == language for d, _ in wanted) for language in amounts
    }
    assert sum(a.tokens for a in amounts.values()) == found.lengths.sum()
    assert sum(a.bytes for a in amounts.values()) == sum(len(text.encode()) for _, text in wanted)
    assert found.manifest.broken == 3


def test_no_paragraph_and_no_group_is_in_both_folds(
    texts: Path, tmp_path: Path, tokenizer: model.Loaded
) -> None:
    packer(texts, tmp_path / "out", tokenizer).run()
    seen: list[set[str]] = []
    groups: list[set[int]] = []
    for fold in shards.FOLDS:
        found = Shards(tmp_path / "out", fold)
        text = "\n\n".join(tokenizer.tokenizer.decode(found.tokens(i)) for i in range(len(found)))
        seen.append({words for words, _ in heldout.paragraphs(text) if words.strip()})
        groups.append(set(found.groups.tolist()) - {0})
    assert not seen[0] & seen[1]
    assert not groups[0] & groups[1]
    assert groups[1]


@pytest.mark.parametrize("size", [1 << 16, (1 << 16) + 1])
def test_two_bytes_do_where_the_vocabulary_is_small(
    texts: Path, tmp_path: Path, tokenizer: model.Loaded, size: int
) -> None:
    other = model.Loaded(tokenizer.tokenizer, size, tokenizer.end, tokenizer.sha256)
    packer(texts, tmp_path / "out", other).run()
    found = Shards(tmp_path / "out")
    assert found.tokens(0).dtype.itemsize == (2 if size == 1 << 16 else 4)
    assert tokenizer.tokenizer.decode(found.tokens(0)[:-1]) == next(expected(texts, "train"))[1]


class CutOff(BaseException):
    """As Ctrl-C."""


@settings(max_examples=30)
@given(data=st.data())
def test_a_run_that_is_cut_off_anywhere_goes_on_and_ends_with_the_same_files(
    tmp_path_factory: pytest.TempPathFactory, tokenizer: model.Loaded, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("cut")
    texts = folder / "texts"
    texts.mkdir()
    for name in ("a", "b"):
        lines = [json.dumps({"text": f"abc {name}{n}", "language": "es"}) for n in range(25)]
        (texts / f"{name}.jsonl").write_text("\n".join([*lines, "{"]))
    packer(texts, folder / "whole", tokenizer, shard_tokens=150).run()
    with pytest.MonkeyPatch.context() as patch:
        for _ in range(data.draw(st.integers(1, 3))):
            left = data.draw(st.integers(0, 25))
            patch.setattr(pack, "written", partial(failing, iter(range(left)), pack.written))
            with suppress(CutOff):
                packer(texts, folder / "cut", tokenizer, shard_tokens=150).run()
            patch.undo()
            patch.setattr(pack, "BATCH", 100)
    packer(texts, folder / "cut", tokenizer, shard_tokens=150).run()
    assert contents(folder / "cut") == contents(folder / "whole")
    shutil.rmtree(folder)


def failing(left: Iterator[int], written: Any, path: Path) -> Any:
    if next(left, None) is None:
        raise CutOff
    return written(path)


def test_what_a_killed_run_was_writing_is_swept_away(
    texts: Path, tmp_path: Path, tokenizer: model.Loaded
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".train-00000.bin.7.part").write_bytes(b"half")
    packer(texts, tmp_path / "out", tokenizer).run()
    assert not list((tmp_path / "out").glob(".*"))


def test_a_finished_folder_is_left_as_it_is(
    texts: Path, tmp_path: Path, tokenizer: model.Loaded
) -> None:
    first = packer(texts, tmp_path / "out", tokenizer).run()
    before = contents(tmp_path / "out")
    shutil.copytree(texts, tmp_path / "elsewhere")
    assert packer(tmp_path / "elsewhere", tmp_path / "out", tokenizer).run() == first
    assert contents(tmp_path / "out") == before


def test_other_texts_do_not_go_into_the_same_folder(
    texts: Path, tmp_path: Path, tokenizer: model.Loaded
) -> None:
    packer(texts, tmp_path / "out", tokenizer).run()
    with (texts / "a.jsonl").open("a") as file:
        file.write("\n")
    with pytest.raises(
        UserError, match="holds shards of other texts, or made otherwise; name a new folder"
    ):
        packer(texts, tmp_path / "out", tokenizer)


def test_without_text_to_train_on_nothing_is_packed(
    tmp_path: Path, tokenizer: model.Loaded
) -> None:
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_bytes(b"\0\0")
    with pytest.raises(
        UserError, match=r"no document could be read; of 1 that failed, a.txt: binary"
    ):
        packer(tmp_path / "texts", tmp_path / "out", tokenizer).run()
    (tmp_path / "texts" / "a.jsonl").write_text('{"text": "a", "language": "es"}')
    sources = read.sources([tmp_path / "texts"])
    with pytest.raises(UserError, match="all of the text is held out"):
        pack.Packer(sources, tmp_path / "out", tokenizer, ORIGIN, share=0.999999).run()


@pytest.fixture
def packed(texts: Path, tmp_path: Path, tokenizer: model.Loaded) -> Path:
    packer(texts, tmp_path / "out", tokenizer).run()
    return tmp_path / "out"


def test_whole_shards_are_verified(packed: Path) -> None:
    assert shards.verify(packed) == shards.load_manifest(packed)


@pytest.mark.parametrize("name", ["train-00001.bin", "train-00001.idx", "heldout-00000.bin"])
def test_a_shard_that_is_cut_or_lost_is_named(packed: Path, name: str) -> None:
    path = packed / name
    data = path.read_bytes()
    path.write_bytes(data[:-1])
    with pytest.raises(UserError, match=f"{name}: {len(data) - 1} bytes in place of {len(data)}"):
        shards.verify(packed)
    path.unlink()
    with pytest.raises(UserError, match=f"{name}: No such file"):
        shards.verify(packed)


@pytest.mark.parametrize("suffix", ["bin", "idx"])
def test_every_changed_byte_is_found(packed: Path, suffix: str) -> None:
    path = packed / f"train-00000.{suffix}"
    data = path.read_bytes()
    for place in range(0, len(data), 37):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        with pytest.raises(UserError, match=path.name):
            shards.verify(packed)


@pytest.mark.parametrize(
    ("kind", "place", "value"),
    [
        ("<u8", shards.HEADER.size, 1),
        ("<u8", shards.HEADER.size + 8, 1 << 40),
        ("<u8", 8, 5),
        ("<u2", -2, 1),
        ("<u2", -200, 60_000),
    ],
)
def test_an_index_that_points_elsewhere_is_refused_on_opening(
    packed: Path, kind: str, place: int, value: int
) -> None:
    path = packed / "train-00000.idx"
    data = bytearray(path.read_bytes())
    place %= len(data)
    data[place : place + np.dtype(kind).itemsize] = np.array(value, kind).tobytes()
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"train-00000.idx: .*pack the corpus again"):
        Shards(packed)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": "ayni-shards/9"}, "format: "),
        ({"heldout": 2}, "heldout: "),
        ({"input": "x"}, "input: "),
        ({"shards": [{"fold": "../../etc"}]}, "shards.0.fold: "),
        ({"secret": 1}, "secret: "),
        ({"next": {"file": 0, "document": 3}}, "packing was cut off; give the same"),
    ],
)
def test_a_manifest_that_breaks_the_format_is_told_by_its_key(
    packed: Path, change: dict[str, Any], said: str
) -> None:
    path = packed / shards.MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UserError, match=said):
        Shards(packed)


def test_a_folder_without_shards_says_what_makes_them(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="name a folder made by 'ayni lm corpus pack'"):
        Shards(tmp_path)


def test_there_is_no_document_before_the_first_and_behind_the_last(packed: Path) -> None:
    found = Shards(packed)
    for number in (-1, len(found)):
        with pytest.raises(IndexError):
            found.tokens(number)


def test_folders_are_read_as_one(
    texts: Path, packed: Path, tmp_path: Path, tokenizer: model.Loaded
) -> None:
    other = Origin(member="CO", site="bogota")
    pack.Packer(read.sources([texts / "b.jsonl"]), tmp_path / "b", tokenizer, other, SHARE).run()
    one, two, both = Shards(packed), Shards(tmp_path / "b"), Joined([packed, tmp_path / "b"])
    assert len(both) == len(one) + len(two)
    for number in range(len(both)):
        part, place = (one, number) if number < len(one) else (two, number - len(one))
        assert both.tokens(number).tolist() == part.tokens(place).tolist()
        assert both.language(number) == part.language(place)
        assert both.origin(number) == (ORIGIN if part is one else other)
        assert both.lengths[number] == len(both.tokens(number))
    names = {(number, both.language(i)) for i, number in enumerate(both.language_numbers.tolist())}
    assert len(names) == len({number for number, _ in names}) == len({name for _, name in names})
    assert Order(both, seed=1, site="santiago", length=32).languages == ["es", "gn", "quy"]
    for number in (-1, len(both)):
        with pytest.raises(IndexError):
            both.tokens(number)


def test_tokens_of_two_tokenizers_are_not_read_as_one(
    texts: Path, packed: Path, tmp_path: Path, tokenizer: model.Loaded
) -> None:
    changed = model.Loaded(tokenizer.tokenizer, tokenizer.size + 1, tokenizer.end, tokenizer.sha256)
    packer(texts, tmp_path / "b", changed).run()
    with pytest.raises(UserError, match="made with another tokenizer than"):
        Joined([packed, tmp_path / "b"])


def test_a_trainer_reads_its_rows_from_shards(packed: Path) -> None:
    found = Shards(packed)
    row = Order(found, seed=1, site="santiago", length=32).row(0)
    inside = np.concatenate([found.tokens(i) for i in range(len(found))]).tolist()
    assert set(row.tokens.tolist()) <= set(inside)
    assert len(row.tokens) == 33


def test_a_full_disk_leaves_what_was_done(
    texts: Path, tmp_path: Path, tokenizer: model.Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(left: Iterator[int], written: Any, path: Path) -> Any:
        if next(left, None) is None:
            raise OSError(28, "No space left on device", str(path))
        return written(path)

    monkeypatch.setattr(pack, "written", partial(full, iter(range(6)), pack.written))
    with pytest.raises(OSError, match="No space left"):
        packer(texts, tmp_path / "out", tokenizer).run()
    left = shards.load_manifest(tmp_path / "out")
    assert left.next is not None
    assert left.shards
