"""How a site's task ends: what the run hears of it, and what stands in its log."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from ayni.errors import UserError
from ayni.lm import config, site, wire
from ayni.lm.outer.messages import Failed
from tests.lm.lines import Up
from tests.lm.test_config import GOOD, written
from tests.lm.test_debug import shards  # noqa: F401
from tests.lm.world import World, run


@pytest.fixture
def channels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A task's folders of the run's channels, whose agent takes what is said at once."""
    for name in ("prueba-up", "prueba-down"):
        for folder in ("in", "out"):
            (tmp_path / "channel" / name / folder).mkdir(parents=True)
    monkeypatch.setenv("AYNI_ROOT", str(tmp_path))
    monkeypatch.setattr(site, "_until_taken", lambda up: None)
    return tmp_path / "channel" / "prueba-up" / "out"


def said(out: Path) -> list[tuple[str, dict[str, Any]]]:
    found = [json.loads(path.read_text()) for path in sorted(out.rglob("*.json"))]
    return [(one["kind"], one["body"]) for one in found]


def begun(tmp_path: Path, data: Path, text: str) -> int:
    resolved = config.keep(config.load(written(tmp_path, text)), tmp_path / "kept")
    return site.main(
        [str(resolved), "--site", "bogota", "--data", str(data), "--state", str(tmp_path / "state")]
    )


UNREADY = {"fragment": "all", "base": 0, "attempt": 0, "reason": wire.UNREADY}


def test_a_site_whose_data_is_missing_tells_the_run_and_its_log(
    channels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert begun(tmp_path, tmp_path / "nothing", GOOD) == 2
    assert said(channels) == [("failed", UNREADY)]
    assert "name a folder made by 'ayni lm corpus pack'" in capsys.readouterr().err


def test_shards_with_more_tokens_than_the_model_are_refused_by_their_sizes(
    channels: Path,
    tmp_path: Path,
    shards: Path,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
) -> None:
    few = GOOD.replace("vocab_size = 600", "vocab_size = 200")
    assert begun(tmp_path, shards, few) == 2
    assert said(channels) == [("failed", UNREADY)]
    assert "tokens and the model 200 (vocab_size)" in capsys.readouterr().err


def test_shards_of_another_tokenizer_of_the_same_size_are_refused(
    channels: Path,
    tmp_path: Path,
    shards: Path,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
) -> None:
    tokenizer = tmp_path / "tokenizer"
    tokenizer.mkdir()
    own = (shards.parent / "tokenizer" / "tokenizer.json").read_text()
    (tokenizer / "tokenizer.json").write_text(own + " ")
    assert begun(tmp_path, shards, f"tokenizer = '{tokenizer}'\n{GOOD}") == 2
    assert said(channels) == [("failed", UNREADY)]
    assert "pack the texts again with that one" in capsys.readouterr().err


def test_a_site_that_shall_judge_and_holds_nothing_out_says_how_it_would(
    channels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch, shards: Path,  # noqa: F811
) -> None:  # fmt: skip
    from ayni.lm.corpus.shards import Shards

    monkeypatch.setattr(Shards, "__len__", lambda self: 0)
    judged = GOOD.replace('codec = "int8"', 'codec = "int8"\nevaluate = true')
    assert begun(tmp_path, shards, judged) == 2
    assert said(channels) == [("failed", UNREADY)]
    assert "(outer.evaluate): pack the texts again, with --held-out" in capsys.readouterr().err


def test_the_run_hears_of_a_site_that_never_joined(tmp_path: Path) -> None:
    world = World(tmp_path, run(quorum=2)).begin("bogota", "cdmx")
    assert world.lines is not None
    said = wire.said(
        Failed(site="santiago", fragment="all", base=0, attempt=0, reason=wire.UNREADY)
    )
    Up(world.lines.up, "santiago").send(*said)
    world.hub.step()
    (alarm,) = world.hub.status()["alarms"]
    assert (alarm["what"], alarm["site"]) == ("failed", "santiago")
    assert wire.UNREADY in alarm["text"]


def test_whatever_ends_a_site_is_said_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path, run(quorum=2)).begin()
    world.hub.step()
    one, order = world.sites["santiago"], []

    def full(*_: Any, **__: Any) -> None:
        raise RuntimeError("CUDA out of memory")

    monkeypatch.setattr(one.trainer, "train", full)
    monkeypatch.setattr(site, "_until_taken", lambda up: order.append("taken"))
    assert world.lines is not None
    up = Up(world.lines.up, "santiago")
    with pytest.raises(RuntimeError, match="out of memory"):
        site.speak(one, up, lambda: False)
    with pytest.raises(UserError, match="a rank of this site is gone"):
        site.speak(one, up, lambda: False, ranks=2)
    assert order == ["taken", "taken"]
    world.hub.step()
    assert {(one["site"], one["reason"]) for one in world.books("failed")} == {
        ("santiago", wire.CANNOT)
    }
    why = {one["site"]: one["why"] for one in world.hub.status()["sites"]}
    assert why["santiago"] == f"it cannot: {wire.CANNOT}"
