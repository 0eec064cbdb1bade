"""The benchmark of the joint model: what it compares is what it says."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from bench.joint_model import cases
from bench.joint_model.cases import CASES, ONE_PLACE, run
from bench.joint_model.texts import END, from_folder

from ayni.errors import UserError

STEPS = 10


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("texts")
    (folder / "corpus.toml").write_text('language = "es"')
    for number in range(240):
        words = [f"{number * k} llamas" for k in range(1, 12)]
        (folder / f"{number}.txt").write_text(" y ".join(words))
    return from_folder(folder, cases.SITES, split=False)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    narrow = {"hidden_size": 32, "intermediate_size": 48, "layers": 1, "heads": 2}
    monkeypatch.setattr(cases, "SHAPE", cases.SHAPE.model_copy(update=narrow))


def test_every_document_is_one_sites_or_held_out(corpus: Any) -> None:
    texts = [text for part in [*corpus.sites, corpus.heldout] for text in part.texts]
    assert len(texts) == len(set(texts)) == 240
    assert all(len(site) > 40 for site in corpus.sites)
    assert 0 < len(corpus.heldout) < 24
    assert all(text[-1] == END for text in texts)
    assert len(corpus.together) == sum(map(len, corpus.sites))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_case_runs_and_learns(corpus: Any, case: Any) -> None:
    found = run(case, corpus, seed=0, steps=STEPS, lr=1e-2)
    assert found.mean < 0.95 * math.log2(256)
    rounds = case.schedule(STEPS).rounds() if case.rounds else 0
    assert (found.sent > 0) == (rounds > 0)


def test_three_sites_that_speak_after_every_step_are_not_far_from_one_place(corpus: Any) -> None:
    often = dataclasses.replace(CASES[2], rounds=((0, 1),))
    joint = run(often, corpus, seed=0, steps=60, lr=1e-2)
    one = run(CASES[0], corpus, seed=0, steps=60, lr=1e-2)
    assert CASES[0].name == ONE_PLACE
    assert joint.mean < 1.1 * one.mean


def test_fewer_bits_send_fewer_bytes(corpus: Any) -> None:
    sent = {
        c.codec: run(c, corpus, 0, STEPS, 1e-2).sent for c in CASES if c.rounds == cases.DEFAULT
    }
    assert sorted(sent, key=lambda codec: -sent[codec]) == sorted(sent)


def test_split_takes_a_folder_for_each_site(tmp_path: Path) -> None:
    for language in ("es", "pt"):
        (tmp_path / language).mkdir()
    with pytest.raises(UserError, match="2 subfolders: --split takes 3"):
        from_folder(tmp_path, 3, split=True)
