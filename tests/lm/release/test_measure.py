"""Losses by language, and whether a model knows what was planted better than what was not."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from typer.testing import CliRunner

from ayni.cli.frame import build
from ayni.errors import UserError
from ayni.lm.corpus import canaries, pack, read
from ayni.lm.corpus.shards import Origin, Shards
from ayni.lm.inner import model
from ayni.lm.inner.settings import Shape
from ayni.lm.release import sums
from ayni.lm.release.evidence import LANGUAGES, Loss, Losses, bounded, load, save
from ayni.lm.release.export import export
from ayni.lm.release.measure import exposure, losses
from ayni.lm.tags import MAX_TAG
from ayni.lm.tokenizer import model as tokenizers

SHAPE = Shape(vocab_size=264, hidden_size=32, intermediate_size=64, layers=2, heads=2, context=32)
GROUPS = [(4, 1), (4, 40)]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site's shards with canaries, and two models: one that never learnt, one that read them all."""
    folder = tmp_path_factory.mktemp("place")
    tokenizers.save([], folder / "words")
    words = tokenizers.load(folder / "words")
    (folder / "texts").mkdir()
    for language in ("es", "quy"):
        text = "\n\n".join(f"{language} {number} {number**2}" for number in range(10))
        (folder / "texts" / f"{language}.txt").write_text(text)
    found = read.sources([folder / "texts"], {"names": "{language}.txt"})
    planted = canaries.make(GROUPS, words, site="cusco", seed=3)
    pack.Packer(
        found, folder / "shards", words, Origin(member="PE", site="cusco"), 0.2, planted=planted
    ).run()
    net = model.build(model.config_of(SHAPE), seed=1)
    released(net, folder / "fresh", folder / "words")
    memorise(net, Shards(folder / "shards"))
    released(net, folder / "taught", folder / "words")
    return folder


def released(net: Any, out: Path, words: Path) -> None:
    given = ((name, p.detach().numpy()) for name, p in model.named(net).items())
    export(out, net.config, given, words)


def memorise(net: Any, train: Shards) -> None:
    """A few passes over the canaries, as they stand among the documents."""
    places = [i for i in range(len(train)) if train.language(i) == "zxx"]
    rows = torch.from_numpy(np.stack([train.tokens(i) for i in places]).astype(np.int64))
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-2)
    generator = torch.Generator().manual_seed(0)
    for _ in range(10):
        batch = rows[torch.randperm(len(rows), generator=generator)[:64]]
        net(input_ids=batch, labels=batch).loss.backward()
        optimiser.step()
        optimiser.zero_grad()


def ayni(*given: object) -> Any:
    return CliRunner().invoke(build(), ["lm", *map(str, given)])


def test_what_was_planted_often_is_exposed_and_what_was_not_is_not(place: Path) -> None:
    planted = canaries.load(place / "shards")
    found = exposure(place / "taught", planted, candidates=1023)
    once, often = found.planted
    assert (once.times, often.times, found.bound) == (1, 40, 10.0)
    assert often.median > 9 and found.control.median < 2
    assert often.mean > once.mean
    assert found.sites == ("cusco",) and found.weights == sums.weights_of(place / "taught")
    assert exposure(place / "taught", planted, candidates=1023) == found


def test_a_model_that_never_saw_them_knows_them_no_better_than_others(place: Path) -> None:
    """Ranks are even then, and the mean of their exposure is log2 e = 1.44 bits."""
    words = tokenizers.load(place / "words")
    many = canaries.make([(400, 1)], words, site="cusco", seed=5)
    found = exposure(place / "fresh", many, candidates=999)
    assert abs(found.planted[0].mean - math.log2(math.e)) < 0.25
    assert abs(found.control.mean - math.log2(math.e)) < 0.25


def test_canaries_of_another_tokenizer_or_too_long_are_refused(place: Path) -> None:
    planted = canaries.load(place / "shards")
    with pytest.raises(UserError, match="made with another tokenizer"):
        exposure(place / "fresh", planted.model_copy(update={"tokenizer": "0" * 64}))
    words = tokenizers.load(place / "words")
    long = canaries.make([(1, 1)], words, site="cusco", seed=5, length=33)
    with pytest.raises(UserError, match="33 tokens, the model reads 32"):
        exposure(place / "fresh", long)
    group = planted.groups[0].model_copy(update={"sequences": ((999,) * 12,)})
    with pytest.raises(UserError, match="tokens that the tokenizer has not"):
        exposure(place / "fresh", planted.model_copy(update={"groups": (group,)}))


def test_losses_are_those_of_the_held_out_text_by_language(place: Path) -> None:
    found = losses(place / "fresh", [place / "shards"])
    held = Shards(place / "shards", "heldout")
    assert set(found.languages) == {"es", "quy"} and found.length == 32
    assert found.sites == ("cusco",)
    amounts = held.manifest.amounts["heldout"]
    assert {n: one.bytes for n, one in found.languages.items()} == {
        n: amounts[n].bytes for n in ("es", "quy")
    }
    assert all(abs(one.loss - math.log(264)) < 0.3 for one in found.languages.values())
    assert sum(one.tokens for one in found.languages.values()) < held.lengths.sum()


def test_several_folders_are_measured_as_one(place: Path) -> None:
    once, twice = (losses(place / "fresh", [place / "shards"] * n) for n in (1, 2))
    assert twice.languages["es"].tokens >= 2 * once.languages["es"].tokens


def test_the_commands_print_figures_and_nothing_else(place: Path) -> None:
    commands = [("evaluate",), ("exposure", "--candidates", 255)]
    for command in commands:
        given = (*command, place / "taught", place / "shards")
        told, plain = (ayni(*given, *more) for more in (["--json"], []))
        assert told.exit_code == plain.exit_code == 0, (told.output, told.exception)
        figures = json.loads(told.stdout)
        assert figures["sites"] == ["cusco"]
        assert {type(value) for value in _leaves(figures)} <= {int, float, str}
        assert all(len(text) <= 64 for text in _leaves(figures) if isinstance(text, str))
    assert "never" in plain.stdout and "no more than 8.0 can be seen" in plain.stderr


def _leaves(found: Any) -> list[Any]:
    if isinstance(found, dict | list):
        parts = found.values() if isinstance(found, dict) else found
        return [leaf for part in parts for leaf in _leaves(part)]
    return [found]


def test_mistakes_are_told(place: Path, tmp_path: Path) -> None:
    tokenizers.save([(b"a", b"b")], tmp_path / "other")
    released(model.build(model.config_of(SHAPE), seed=1), tmp_path / "model", tmp_path / "other")
    mistakes = {
        ("evaluate", tmp_path / "model", place / "shards"): "made with another tokenizer",
        ("evaluate", place / "fresh", tmp_path): "made by 'ayni lm corpus pack'",
        ("evaluate", tmp_path, place / "shards"): "No such file",
        ("exposure", place / "fresh", tmp_path): "are planted by",
    }
    for given, why in mistakes.items():
        done = ayni(*given)
        assert isinstance(done.exception, UserError) and why in str(done.exception), done.exception


def test_more_languages_than_a_file_holds_are_pooled_and_long_tags_are_taken(
    tmp_path: Path,
) -> None:
    long = "es-x-" + "abcdefgh-" * 5 + "abcdefghijklmn"
    assert len(long) == MAX_TAG
    many = {f"l{number:05}": Loss(loss=1.0, tokens=1, bytes=2) for number in range(5000)}
    found = bounded({long: Loss(loss=3.0, tokens=9, bytes=9), **many})
    assert len(found) == LANGUAGES
    assert found["mul"] == Loss(loss=1.0, tokens=5002 - LANGUAGES, bytes=2 * (5002 - LANGUAGES))
    losses = Losses(
        weights="a" * 64, tokenizer="b" * 64, sites=("norte",), length=9, languages=found
    )
    save(losses, tmp_path / "losses.json")
    assert load(Losses, tmp_path / "losses.json").languages[long].loss == 3.0
