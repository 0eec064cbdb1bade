"""Any round that is held as a release: its weights bit by bit, its card, its hashes."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

torch = pytest.importorskip("torch")

from transformers import AutoModelForCausalLM, AutoTokenizer
from typer.testing import CliRunner

from ayni.cli.frame import build
from ayni.client.errors import HubUnreachable
from ayni.errors import UserError
from ayni.lm import parameters
from ayni.lm.inner import model
from ayni.lm.inner.settings import Shape
from ayni.lm.inner.train import Trainer
from ayni.lm.outer.fragments import WHOLE
from ayni.lm.release import facts, sums
from ayni.lm.release.evidence import Exposure, Loss, Losses, Planted, Spread, save
from ayni.lm.release.facts import Given, Used
from ayni.lm.release.publish import Wanted, amend, publish
from ayni.lm.tokenizer import model as tokenizers
from tests.lm.inner import small
from tests.lm.world import World, run

SHAPE = Shape(vocab_size=264, hidden_size=32, intermediate_size=48, layers=2, heads=2, context=64)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A run that is over. Its folder keeps the last versions only, the channel all of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(small, "SHAPE", SHAPE)
        patch.setattr(Trainer, "save", lambda *_, **__: None)  # nobody is killed here
        of = run(keep=2, snapshot_every=2)
        yield World(tmp_path_factory.mktemp("world"), of).begin().to_the_end()


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("words")
    tokenizers.save([], folder)
    return folder


class Network:
    """The network, as far as a release asks it."""

    def __init__(self, world: World, *, attempts: Any = ()) -> None:
        self._world, self._attempts = world, list(attempts)

    def channel(self, name: str) -> Any:
        assert name == "prueba-down" and self._world.lines is not None
        return self._world.lines.down

    def sites(self) -> Any:
        return [
            SimpleNamespace(name="bogota", member="CO"),
            SimpleNamespace(name="cdmx", member="MX"),
        ]

    def tasks(self, tag: Any) -> Any:
        assert tag == ("ayni-lm", "prueba")
        return [SimpleNamespace(attempts=self._attempts)]


def released(world: World, out: Path, words: Path, number: int | None = None, **more: Any) -> Any:
    network = more.pop("network", None)
    folder = more.pop("folder", world.hub.folder)
    wanted = Wanted(number=number, tokenizer=words, **more)
    return publish(world.run, folder, out, wanted, network=network)


def digest(folder: Path) -> str:
    net = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True)
    given = ((n, p.detach().numpy()) for n, p in model.named(net).items())
    return parameters.digest(given)


def test_the_newest_round_has_the_weights_that_all_sites_hold(
    world: World, words: Path, tmp_path: Path
) -> None:
    found = released(world, tmp_path / "out", words)
    assert found.version == world.version and found.state == "committed"
    assert digest(tmp_path / "out") == found.digest == world.sites["cdmx"].trainer.digest()
    assert (tmp_path / "out" / "generation_config.json").exists()
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "out").iterdir()} == {0o644}
    assert AutoTokenizer.from_pretrained(tmp_path / "out").eos_token == tokenizers.END
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out"]


def test_every_round_comes_from_the_folder_or_else_from_the_channel(
    world: World, words: Path, tmp_path: Path
) -> None:
    """The digests are those that the coordinator announced."""
    announced = {
        r["version"]: r["digest"] for r in world.books("version") if r["fragment"] == WHOLE
    }
    assert len(announced) == 6
    for number, wanted in announced.items():
        found = released(world, tmp_path / f"{number}", words, number, network=Network(world))
        assert digest(tmp_path / f"{number}") == found.digest == wanted
    with pytest.raises(UserError, match=r"round 1 is not held any more: the folder .* holds \d"):
        released(world, tmp_path / "gone", words, 1)
    with pytest.raises(UserError, match=r"round 7 is .*; the channel prueba-down holds 0–6"):
        released(world, tmp_path / "gone", words, 7, network=Network(world))
    assert not (tmp_path / "gone").exists()


def test_without_the_folder_the_channel_has_the_weights_and_the_card_says_what_it_lacks(
    world: World, words: Path, tmp_path: Path
) -> None:
    nowhere = tmp_path / "nowhere"
    found = released(world, tmp_path / "out", words, network=Network(world), folder=nowhere)
    assert (found.version, found.parts) == (6, None)
    assert "books were not at hand" in (tmp_path / "out" / "README.md").read_text()
    with pytest.raises(UserError, match="there is no run in"):
        released(world, tmp_path / "again", words, folder=nowhere)


def test_what_cannot_be_released_is_refused_and_leaves_nothing(
    world: World, words: Path, tmp_path: Path
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "note").write_text("mine")
    with pytest.raises(UserError, match="is not empty: name a new folder"):
        released(world, tmp_path / "full", words)
    other = Shape(**{**SHAPE.model_dump(), "intermediate_size": 64})
    changed = world.run.model_copy(update={"model": model.Start(shape=other)})
    with pytest.raises(UserError, match="values, the model of the configuration"):
        publish(changed, world.hub.folder, tmp_path / "out", Wanted(tokenizer=words))
    known = world.run.model_copy(update={"tokenizer_sha256": "a" * 64})
    with pytest.raises(
        UserError, match=r"holds another tokenizer .* than the run was trained with"
    ):
        publish(known, world.hub.folder, tmp_path / "out", Wanted(tokenizer=words))
    with pytest.raises(UserError, match=r"tokenizer in run\.toml, or --tokenizer"):
        publish(world.run, world.hub.folder, tmp_path / "out", Wanted())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["full"]


def test_the_card_names_the_tokenizer_that_was_trained_with(
    world: World, words: Path, tmp_path: Path
) -> None:
    own = tokenizers.load(words).sha256
    assert released(world, tmp_path / "out", words).tokenizer == own
    said = (tmp_path / "out" / "README.md").read_text()
    assert f"`{own}`, and the record does not say" in said
    known = world.run.model_copy(update={"tokenizer_sha256": own})
    publish(known, world.hub.folder, tmp_path / "known", Wanted(tokenizer=words))
    said = (tmp_path / "known" / "README.md").read_text()
    assert f"`{own}`, with which all sites' texts were packed" in said


def test_a_damaged_update_is_found_by_its_digest(
    world: World, words: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert world.lines is not None
    line: Any = world.lines.down
    (first, *_) = [m for m in line.said if m.kind == "blob" and len(line.blobs[m.sequence]) > 1000]
    torn = bytearray(line.blobs[first.sequence])
    torn[-1] ^= 1
    monkeypatch.setitem(line.blobs, first.sequence, bytes(torn))
    with pytest.raises(UserError, match=r"round 1 cannot be made from the channel prueba-down: "):
        released(world, tmp_path / "out", words, 1, network=Network(world))
    assert not list(tmp_path.iterdir())


def test_a_message_that_is_no_head_is_passed_over(
    world: World, words: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert world.lines is not None
    line: Any = world.lines.down
    monkeypatch.setattr(line, "said", list(line.said))
    head = next(m.body for m in line.said if m.kind == "head" and m.body["chain_digest"])
    line.send("head", {**head, "chain_digest": head["chain_digest"] * 2})
    found = released(world, tmp_path / "out", words, 1, network=Network(world))
    assert found.version == 1


def test_the_card_has_the_facts_of_the_record(world: World, words: Path, tmp_path: Path) -> None:
    used = {"cores": 4, "gpus": 1, "wall": 1800.0}
    accounted = {
        **used,
        "allocation": {"core_seconds": 7200.0, "gpu_seconds": 0.0, "energy": 1.8e6},
    }
    attempts = [
        SimpleNamespace(site="bogota", usage=used),
        SimpleNamespace(site="bogota", usage=accounted),
        SimpleNamespace(site="cdmx", usage=None),
    ]
    network = Network(world, attempts=attempts)
    found = released(world, tmp_path / "out", words, network=network)
    assert found.rounds == 6 and found.rolled_back == 0
    parts = {part.site: part for part in found.parts}
    assert parts["bogota"].hours == Used(core=4.0, gpu=0.5, energy=0.5)
    assert parts["cdmx"].hours == Used() and found.energy == {"bogota": 0.5}
    assert sum(part.weight for part in parts.values()) == pytest.approx(1.0)
    assert sum(part.tokens for part in parts.values()) == sum(
        one["tokens"] for one in world.books("merged")
    )
    assert all(part.rounds == 6 and part.losses for part in parts.values())
    text = (tmp_path / "out" / "README.md").read_text()
    front = yaml.safe_load(text.split("---\n")[1])
    assert front["language"] == ["es", "quy"] and front["library_name"] == "transformers"
    assert "| bogota | CO | 6 |" in text and "| *all sites of* | MX | 6 |" in text
    assert "may have memorised passages" in text and "no canaries are on record" in text
    assert "no licence" in text and "| bogota | 0.50 |" in text
    shown = json.loads(re.findall(r"```json\n(.*?)```", text, re.S)[0])
    assert shown["training"]["optimiser"]["name"] == "adamw"
    assert not re.search(r"/shards|\"volume\"", text)


def test_an_older_round_has_the_books_of_its_time(
    world: World, words: Path, tmp_path: Path
) -> None:
    found = released(world, tmp_path / "out", words, 2, network=Network(world))
    assert found.rounds == 2 and {part.rounds for part in found.parts} == {2}
    assert found.step == 8


def losses(weights: str, **by_language: float) -> Losses:
    known = {name: Loss(loss=value, tokens=100, bytes=200) for name, value in by_language.items()}
    return Losses(
        weights=weights, tokenizer="a" * 64, sites=("bogota",), length=64, languages=known
    )


def test_the_card_says_where_the_joint_model_is_worse_than_alone(
    world: World, words: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    released(world, out, words)
    own = losses(sums.weights_of(out), es=2.0, quy=3.0)
    alone = losses("b" * 64, es=2.5, quy=2.9)
    some = Spread(count=4, median=1.0, mean=1.4, most=3.0)
    seen = Exposure(
        weights=own.weights, tokenizer=own.tokenizer, sites=("bogota",), length=12, candidates=1023,
        bound=10.0, control=some, planted=(Planted(times=64, count=4, median=9, mean=8.5, most=10.0),),
    )  # fmt: skip
    given = Given([own], {"CO | alone": [alone]}, [seen], {"bogota": 1.25}, "apache-2.0")
    amend(out, given)
    text = (out / "README.md").read_text()
    assert r"**worse than CO \| alone** in 1 of 2 languages: quy (+0.100)" in text
    assert "| es | 100 | 1.443 | 2.000 | 2.500 |" in text
    assert (
        "| *worst* |  |  | 3.000 | 2.900 |" in text and "| *mean* |  |  | 2.500 | 2.700 |" in text
    )
    assert "| bogota | 64 times | 4 | 9.0 | 8.5 | 10.0 | 10.0 |" in text
    assert "| bogota | 1.25 |" in text and "Not measured at cdmx, santiago" in text
    assert yaml.safe_load(text.split("---\n")[1])["license"] == "apache-2.0"
    again = amend(out, Given())
    assert again == facts.load(out) and again.exposures == (seen,)
    assert (out / "README.md").read_text() == text
    subprocess.run(["sha256sum", "--quiet", "--strict", "--check", sums.FILE], cwd=out, check=True)
    with pytest.raises(UserError, match="is of other weights"):
        amend(out, Given([alone]))
    with pytest.raises(UserError, match="the run has no site lima"):
        amend(out, Given(energy={"lima": 1.0}))
    with pytest.raises(UserError, match="given twice"):
        amend(out, Given([own, own]))
    (out / "config.json").write_text("{}")
    with pytest.raises(UserError, match=r"config\.json is not what SHA256SUMS lists"):
        amend(out, Given())


def test_the_commands_release_and_add_to_the_card(
    world: World, words: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AYNI_HUB", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))

    def ayni(*given: object) -> Any:
        return CliRunner().invoke(build(), ["lm", *map(str, given)])

    out, told = tmp_path / "out", world.hub.folder / "run.json"
    command = ("export", told, "--folder", world.hub.folder, "--tokenizer", words)
    done = ayni(*command, "--out", out, "--round", 5, "--json")
    assert done.exit_code == 0, (done.output, done.exception)
    assert json.loads(done.stdout)["version"] == 5
    save(losses(sums.weights_of(out), es=2.0), tmp_path / "own.json")
    save(losses("b" * 64, es=1.0), tmp_path / "alone.json")
    options = ("--losses", tmp_path / "own.json", "--compare", f"alone={tmp_path / 'alone.json'}")
    done = ayni("card", out, *options, "--licence", "mit")
    assert done.exit_code == 0, (done.output, done.exception)
    assert "worse than alone** in 1 of 1 languages: es (+1.000)" in (out / "README.md").read_text()
    mistakes = {
        ("card", out, "--compare", "alone"): "write NAME=FILE",
        ("card", out, "--energy", "cdmx=much"): "write kWh as a number",
        ("card", out, "--losses", told): "Extra inputs|Field required",
        ("card", tmp_path): "name a folder of 'ayni lm export'",
        (*command, "--out", out): "is not empty",
    }
    for given, why in mistakes.items():
        assert re.search(why, str(ayni(*given).exception)), given


def test_a_hub_that_does_not_answer_leaves_a_card_without_hours(
    world: World, words: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    network = Network(world)

    def away() -> Any:
        raise HubUnreachable("no answer from the hub")

    network.sites = away  # type: ignore[method-assign]
    found = released(world, tmp_path / "out", words, network=network)
    assert "the card will lack members and hours" in caplog.text
    assert not any(part.hours.accounted for part in found.parts)
    assert "Hours are as the sites' tasks say" in (tmp_path / "out" / "README.md").read_text()
