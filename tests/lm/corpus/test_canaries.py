"""Canaries: random sequences that a site plants, to see later what a model memorised."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ayni.errors import UserError
from ayni.lm.corpus import canaries, pack, read
from ayni.lm.corpus.canaries import Canaries
from ayni.lm.corpus.shards import Origin, Shards, verify
from ayni.lm.tokenizer import model

ORIGIN = Origin(member="CL", site="santiago")


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    folder = tmp_path / "texts"
    folder.mkdir()
    text = "\n\n".join(f"párrafo número {number}" for number in range(200))
    (folder / "es.txt").write_text(text)
    return folder


def packed(
    texts: Path, out: Path, tokenizer: model.Loaded, planted: Canaries | None
) -> pack.Packer:
    found = read.sources([texts], {"language": "es"})
    packer = pack.Packer(found, out, tokenizer, ORIGIN, 0.2, planted=planted)
    packer.run()
    return packer


def test_the_same_seed_site_and_tokenizer_make_the_same_canaries(tokenizer: model.Loaded) -> None:
    def made(site: str = "santiago", seed: int = 7) -> Canaries:
        return canaries.make([(3, 2), (3, 5)], tokenizer, site=site, seed=seed)

    assert made() == made()
    assert made().groups[0].sequences[0] == (227, 202, 132, 196, 161, 232, 24, 8, 57, 110, 172, 195)
    others = [made(), made(seed=8), made(site="bogota")]
    assert len({one.groups[0].sequences for one in others} | {made().groups[1].sequences}) == 4


@given(st.text(max_size=20), st.integers(1, 50), st.integers(2, 20))
def test_sequences_are_drawn_evenly_from_the_letters(key: str, count: int, length: int) -> None:
    letters = np.array([3, 5, 9])
    found = canaries.sequences(key, count, length, letters)
    assert found.shape == (count, length) and np.isin(found, letters).all()
    assert np.array_equal(found, canaries.sequences(key, count, length, letters))
    many = canaries.sequences(key, 3000, 1, letters)
    assert all(900 < (many == letter).sum() < 1100 for letter in letters)


def test_no_special_token_is_in_a_canary(tokenizer: model.Loaded) -> None:
    letters = canaries.alphabet(tokenizer)
    assert set(letters.tolist()) == set(range(len(model.SPECIAL), tokenizer.size))


def test_canaries_stand_in_the_training_text_as_often_as_said_and_nowhere_else(
    texts: Path, tmp_path: Path, tokenizer: model.Loaded
) -> None:
    planted = canaries.make([(4, 1), (2, 30)], tokenizer, site="santiago", seed=7)
    packed(texts, tmp_path / "plain", tokenizer, None)
    manifest = packed(texts, tmp_path / "out", tokenizer, planted).manifest
    assert manifest.amounts["train"]["zxx"].documents == 4 + 2 * 30
    assert "zxx" not in manifest.amounts["heldout"]
    train = Shards(tmp_path / "out", "train")
    found = Counter(
        tuple(train.tokens(i).tolist()) for i in range(len(train)) if train.language(i) == "zxx"
    )
    wanted = {(*one, tokenizer.end): g.times for g in planted.groups for one in g.sequences}
    assert found == wanted
    for name in ("heldout-00000.bin",):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "plain" / name).read_bytes()
    assert canaries.load(tmp_path / "out") == planted
    assert verify(tmp_path / "out") == manifest


def test_packing_again_plants_nothing_twice_and_other_canaries_are_other_shards(
    texts: Path, tmp_path: Path, tokenizer: model.Loaded
) -> None:
    planted = canaries.make([(4, 3)], tokenizer, site="santiago", seed=7)
    first = packed(texts, tmp_path / "out", tokenizer, planted).manifest
    assert packed(texts, tmp_path / "out", tokenizer, planted).manifest == first
    for other in (None, canaries.make([(4, 3)], tokenizer, site="santiago", seed=8)):
        with pytest.raises(UserError, match="made otherwise"):
            packed(texts, tmp_path / "out", tokenizer, other)


def test_a_file_of_canaries_is_read_strictly(tmp_path: Path, tokenizer: model.Loaded) -> None:
    with pytest.raises(UserError, match="are planted by 'ayni lm corpus pack --canaries'"):
        canaries.load(tmp_path)
    good = canaries.make([(2, 3)], tokenizer, site="santiago", seed=7).model_dump(mode="json")
    path = tmp_path / canaries.FILE
    path.write_text(json.dumps({**good, "length": 5}))
    with pytest.raises(UserError, match="sequences of another length"):
        canaries.load(tmp_path)
    path.write_text(json.dumps({**good, "groups": [{"times": 0, "sequences": [[1, 2]]}]}))
    with pytest.raises(UserError, match=r"groups\.0\.times"):
        canaries.load(path)


def test_too_many_are_refused(tokenizer: model.Loaded) -> None:
    with pytest.raises(UserError, match="plant fewer"):
        canaries.make([(2000, 2000)], tokenizer, site="santiago", seed=0)
