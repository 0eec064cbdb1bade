"""`ayni lm debug`: one site's training in this process."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")

from ayni.lm.config import load
from ayni.lm.outer.codec import blob_size
from ayni.lm.plan import parameters
from tests.lm.test_commands import ayni, mistake, said
from tests.lm.test_config import GOOD, written

RULES = ("--rule", "names={language}.txt", "--rule", "split=line")


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    texts = folder / "texts"
    texts.mkdir()
    for language, word in (("es", "todos los seres humanos"), ("quy", "tukuy runakuna")):
        lines = [f"{word} {number} {word}" for number in range(200)]
        (texts / f"{language}.txt").write_text("\n".join(lines))
    counts, tokenizer = folder / "counts.jsonl", folder / "tokenizer"
    said("tokenizer", "count", texts, *RULES, "--threshold", 2, "--rare", "--out", counts)
    said("tokenizer", "train", counts, "--size", 320, "--out", tokenizer)
    said(
        "corpus", "pack", texts, *RULES, "--tokenizer", tokenizer, "--member", "CO",
        "--site", "bogota", "--out", folder / "out", "--held-out", 0.2,
    )  # fmt: skip
    return folder / "out"


def test_a_site_is_tried_without_a_network(shards: Path, tmp_path: Path) -> None:
    text = GOOD.replace('codec = "int8"', 'codec = "int8"\nevaluate = true')
    path = written(tmp_path, text)
    found = said("debug", path, "--data", shards, "--steps", 4)
    run = load(path)
    assert run.model.shape is not None
    assert (found["site"], found["steps"]) == ("bogota", 4)
    assert found["contribution_bytes"] == blob_size(parameters(run.model.shape), run.outer.codec)
    assert set(found["losses"]) == set(found["heldout_after"]) == {"es", "quy"}
    assert found["heldout_after"]["es"] < found["heldout_before"]["es"]
    assert found["tokens_per_second"] > 0 and found["peak_memory"] > 1 << 20
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run.toml"]


def test_each_step_is_told_on_stderr(shards: Path, tmp_path: Path) -> None:
    done = ayni("debug", written(tmp_path), "--data", shards, "--steps", 3, "--site", "cdmx")
    steps = [line for line in done.stderr.splitlines() if line.startswith("step ")]
    assert [line.partition(":")[0] for line in steps] == [f"step {n} of 3" for n in (1, 2, 3)]
    assert "es " in steps[0] and "tokens/s" in done.stdout


def test_shards_of_a_larger_vocabulary_are_refused(shards: Path, tmp_path: Path) -> None:
    path = written(tmp_path, GOOD.replace("vocab_size = 600", "vocab_size = 200"))
    assert "give the model as many" in mistake("debug", path, "--data", shards)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    path = written(tmp_path)
    assert "name that of its shards with --data" in mistake("debug", path)
    assert "it has bogota, cdmx" in mistake("debug", path, "--site", "lima")
