"""The benchmark of a GPU: that its parts run anywhere, and count what they say."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

from bench.gpu import command, measured, ours
from bench.gpu.shapes import PEAK, WORKS, Synthetic

TINY = WORKS["tiny"]
OPTIONS = {"warm": 1, "steps": 2}


def test_ours_trains_and_is_timed() -> None:
    found = ours.measure(TINY, OPTIONS)
    assert found["steps"] == 2
    assert found["tokens_per_step"] == 4 * 128
    assert found["tokens_per_second"] == pytest.approx(512 / found["seconds_per_step"])
    assert 0 < found["mfu_masked"] < found["mfu"]
    assert found["loss"] == pytest.approx(np.log(128), rel=0.1)


def test_transformers_trainer_is_timed_on_the_same_rows() -> None:
    pytest.importorskip("accelerate")
    from bench.gpu import plain

    found = plain.measure(TINY, OPTIONS)
    assert (found["steps"], found["tokens_per_step"]) == (2, 512)
    assert found["loss"] == pytest.approx(np.log(128), rel=0.1)
    row = plain.Rows(TINY, masked=True)[3]
    wanted = TINY.order().row(3)
    assert row["input_ids"].tolist() == wanted.tokens[:-1].tolist()
    first = wanted.segments[:-1] != np.roll(wanted.segments[:-1], 1)
    assert (row["position_ids"].numpy() == 0)[1:].tolist() == first[1:].tolist()


def test_attention_is_counted_over_half_a_row_or_as_the_mask_leaves_it() -> None:
    half = TINY.shape.context / 2
    assert TINY.flops(half) == pytest.approx(TINY.flops())
    attention = 12 * TINY.shape.layers * TINY.shape.hidden_size * TINY.tokens
    assert TINY.flops() - TINY.flops(half - 10) == pytest.approx(10 * attention)


def test_the_rate_is_of_the_mean_step() -> None:
    found = measured.of(TINY, [1.0, 3.0])
    assert found["mfu"] == pytest.approx(TINY.flops() / 2.0 / PEAK)
    assert found["median_seconds_per_step"] == 2.0


def test_documents_are_as_long_as_they_say_and_the_same_every_time() -> None:
    one, two = Synthetic(TINY.shape), Synthetic(TINY.shape)
    for i in (0, 7, 1999):
        assert len(one.tokens(i)) == one.lengths[i]
        assert np.array_equal(one.tokens(i), two.tokens(i))
    assert 0.7 < np.median(one.lengths) / (TINY.shape.context / 4) < 1.3


@pytest.mark.parametrize(
    "said, patience, told",
    [("raise SystemExit('no memory')", 60, "no memory"), ("", 0, "not done")],
)
def test_a_part_that_fails_or_hangs_is_a_line_of_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, patience: float, told: str
) -> None:
    monkeypatch.setattr(command.sys, "executable", str(tmp_path / "python"))
    (tmp_path / "python").write_text(f'#!/bin/sh\necho "{said}"; sleep 0.2; exit 1\n')
    (tmp_path / "python").chmod(0o755)
    options = argparse.Namespace(shape="tiny", warm=1, steps=1, profile=None, patience=patience)
    assert told in command._run("ours", tmp_path, options)["error"]


def test_the_table_compares_with_every_trainer(capsys: pytest.CaptureFixture[str]) -> None:
    def rate(tokens: float) -> dict[str, Any]:
        return {"tokens_per_second": tokens, "mfu": 0.5}

    command._report(
        "1b", {"ours": rate(150.0), "Trainer": rate(100.0), "Trainer, compiled": {"error": "no"}}
    )
    told = capsys.readouterr().out
    assert "ours / Trainer: 1.50× (wanted: 1.3×)" in told
    assert "compiled" not in told
