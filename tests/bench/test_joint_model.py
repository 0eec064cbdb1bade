"""The benchmark of the joint model: what it compares is what it says."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from bench.joint_model import cases, command, scales
from bench.joint_model.cases import CASES, ONE_PLACE, Stretch
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
    return from_folder(folder, scales.SITES, split=False)


NARROW = {"hidden_size": 32, "intermediate_size": 48, "layers": 1, "heads": 2}
SMALL = dataclasses.replace(scales.SMALL, shape=scales.SMALL.shape.model_copy(update=NARROW))


def run(case: Any, corpus: Any, *, steps: int = STEPS, encoded: bool = True) -> Any:
    scale = dataclasses.replace(SMALL, encoded=encoded)
    return cases.run(case, corpus, 0, steps, 1e-2, scale)


def case(name: str) -> Any:
    [found] = [one for one in CASES if one.name == name]
    return found


def test_every_document_is_one_sites_or_held_out(corpus: Any) -> None:
    texts = [text for part in [*corpus.sites, corpus.heldout] for text in part.texts]
    assert len(texts) == len(set(texts)) == 240
    assert all(len(site) > 40 for site in corpus.sites)
    assert 0 < len(corpus.heldout) < 24
    assert all(text[-1] == END for text in texts)
    assert len(corpus.together) == sum(map(len, corpus.sites))


@pytest.mark.parametrize(
    "name",
    [
        ONE_PLACE,
        "one site alone",
        "H=20, Nesterov 0.7",
        "H=5 to step 400, then 50 with momentum 0.3",
        "the default schedule with momentum 0.3",
        "the default schedule, 4 bits, Muon",
        "the default schedule, 4 bits, overlap 5",
    ],
)
def test_every_kind_of_case_runs_and_learns(corpus: Any, name: str) -> None:
    found = run(case(name), corpus)
    assert found.mean < 0.95 * math.log2(256)
    assert (found.sent > 0) == bool(case(name).rounds)


def test_every_case_has_a_schedule_of_its_own() -> None:
    for one in CASES:
        assert not one.rounds or one.schedule(1000).rounds() >= 10
    assert len({one.name for one in CASES}) == len(CASES)


def test_three_sites_that_speak_after_every_step_are_not_far_from_one_place(corpus: Any) -> None:
    often = dataclasses.replace(case("H=5, plain mean"), rounds=(Stretch(0, 1),))
    joint = run(often, corpus, steps=60)
    assert joint.mean < 1.1 * run(case(ONE_PLACE), corpus, steps=60).mean


def test_fewer_bits_send_fewer_bytes(corpus: Any) -> None:
    warm = [case for case in CASES if case.rounds == (cases.FIRST, cases.THEN)]
    sent = {one.codec: run(one, corpus).sent for one in warm}
    assert len(sent) == 3
    assert sorted(sent, key=lambda codec: -sent[codec]) == sorted(sent)


@pytest.mark.parametrize("name", ["H=5, plain mean", "H=20, Nesterov 0.7"])
def test_merged_in_place_is_merged_as_in_a_run(corpus: Any, name: str) -> None:
    often = dataclasses.replace(
        case(name), rounds=tuple(s._replace(h=3) for s in case(name).rounds)
    )
    ours, wanted = run(often, corpus, encoded=False), run(often, corpus)
    assert ours.mean == pytest.approx(wanted.mean, rel=1e-5)
    assert ours.sent == wanted.sent


def test_gaps_are_to_one_place_at_the_rate_that_suits_it_best(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def result(case: str, seed: int, lr: float, loss: float, sent: int = 0) -> Any:
        return cases.Result(case, seed, lr, {"es": loss}, loss, sent, 1.0)

    found = [result(ONE_PLACE, seed, lr, 2 * lr + seed) for seed in (1, 2) for lr in (1.0, 0.5)]
    found += [result("H=5, plain mean", seed, 1.0, (1 + seed) * 1.1, 8) for seed in (1, 2)]
    command._report(found, SMALL, 10, "byte", "iid")
    told = capsys.readouterr().out
    assert "one place by its learning rate, bits per byte: 0.5: 2.500, 1: 3.500" in told
    assert "= iid, H=5, plain mean, rate 1, 2 seeds: 2.750 bits per byte, +10.0 ± 0.0 %" in told


def test_split_takes_a_folder_for_each_site(tmp_path: Path) -> None:
    for language in ("es", "pt"):
        (tmp_path / language).mkdir()
    with pytest.raises(UserError, match="2 subfolders: --split takes 3"):
        from_folder(tmp_path, 3, split=True)
