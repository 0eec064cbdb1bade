"""A model that others load, and that writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from transformers import AutoModelForCausalLM, AutoTokenizer
from typer.testing import CliRunner

from ayni.cli.frame import build
from ayni.errors import UserError
from ayni.lm import model_commands
from ayni.lm.inner import model
from ayni.lm.inner.settings import Shape
from ayni.lm.release.export import export
from ayni.lm.release.generate import generate
from ayni.lm.tokenizer.model import END, save
from ayni.terminal import lines

SHAPE = Shape(vocab_size=264, hidden_size=32, intermediate_size=48, layers=2, heads=2, context=40)


@pytest.fixture
def tokenizer(tmp_path: Path) -> Path:
    save([], tmp_path / "words")
    return tmp_path / "words"


def weights(shape: Shape, seed: int = 3) -> dict[str, Any]:
    net = model.build(model.config_of(shape), seed=seed)
    return {name: p.detach().numpy() for name, p in model.named(net).items()}


@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2", "qwen3"])
@pytest.mark.parametrize("tied", [True, False])
def test_plain_transformers_loads_what_was_exported(
    tmp_path: Path, tokenizer: Path, family: Any, tied: bool
) -> None:
    shape = Shape(**{**SHAPE.model_dump(), "family": family, "tie_embeddings": tied})
    given = weights(shape)
    export(tmp_path / "out", model.config_of(shape), given.items(), tokenizer)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "out", local_files_only=True)
    words = AutoTokenizer.from_pretrained(tmp_path / "out", local_files_only=True)
    for name, p in model.named(loaded).items():
        assert np.array_equal(p.detach().numpy(), given[name]), name
    ids = words("Ayni ñu", return_tensors="pt").input_ids
    assert words.decode(ids[0]) == "Ayni ñu"
    assert words.eos_token == END
    assert loaded.config.eos_token_id == words.eos_token_id == 0
    assert loaded.generate(ids, max_new_tokens=3, do_sample=False).shape[1] <= ids.shape[1] + 3


def test_greedy_text_is_what_plain_transformers_writes(tmp_path: Path, tokenizer: Path) -> None:
    export(tmp_path / "out", model.config_of(SHAPE), weights(SHAPE).items(), tokenizer)
    net = AutoModelForCausalLM.from_pretrained(tmp_path / "out", local_files_only=True)
    words = AutoTokenizer.from_pretrained(tmp_path / "out", local_files_only=True)
    ids = words("Hola", return_tensors="pt").input_ids
    wanted = net.generate(ids, max_new_tokens=12, do_sample=False, pad_token_id=0)[0]
    found = generate(tmp_path / "out", "Hola", tokens=12)
    assert found == words.decode(wanted, skip_special_tokens=True)
    assert found.startswith("Hola")


def test_drawn_text_depends_on_its_seed_alone(tmp_path: Path, tokenizer: Path) -> None:
    export(tmp_path / "out", model.config_of(SHAPE), weights(SHAPE).items(), tokenizer)

    def drawn(seed: int) -> str:
        return generate(tmp_path / "out", "Hola", tokens=20, temperature=1.0, seed=seed)

    torch.manual_seed(1)
    first = drawn(0)
    torch.manual_seed(2)
    assert drawn(0) == first
    assert drawn(1) != first


def test_in_half_precision_the_folder_is_half_as_large(tmp_path: Path, tokenizer: Path) -> None:
    config = model.config_of(SHAPE)
    export(tmp_path / "full", config, weights(SHAPE).items(), tokenizer)
    export(tmp_path / "half", config, weights(SHAPE).items(), tokenizer, precision="bfloat16")
    full, half = ((tmp_path / n / "model.safetensors").stat().st_size for n in ("full", "half"))
    assert half < 0.6 * full
    assert json.loads((tmp_path / "half/config.json").read_text())["dtype"] == "bfloat16"
    assert generate(tmp_path / "half", "Hola", tokens=2)


def test_weights_of_another_model_are_refused_and_leave_nothing(
    tmp_path: Path, tokenizer: Path
) -> None:
    given = weights(SHAPE)
    del given["model.norm.weight"]
    with pytest.raises(UserError, match=r"lacks model\.norm\.weight"):
        export(tmp_path / "out", model.config_of(SHAPE), given.items(), tokenizer)
    assert [path.name for path in tmp_path.iterdir()] == ["words"]


def test_a_folder_that_is_there_is_left_alone(tmp_path: Path, tokenizer: Path) -> None:
    (tmp_path / "out").mkdir()
    export(tmp_path / "out", model.config_of(SHAPE), weights(SHAPE).items(), tokenizer)
    with pytest.raises(UserError, match="is not empty"):
        export(tmp_path / "out", model.config_of(SHAPE), weights(SHAPE).items(), tokenizer)


def test_a_tokenizer_with_more_words_than_the_model_is_refused(
    tmp_path: Path, tokenizer: Path
) -> None:
    shape = Shape(**{**SHAPE.model_dump(), "vocab_size": 200})
    with pytest.raises(UserError, match="260 words, the model 200"):
        export(tmp_path / "out", model.config_of(shape), weights(shape).items(), tokenizer)


def test_a_folder_whose_tokenizer_is_anothers_is_refused(tmp_path: Path, tokenizer: Path) -> None:
    export(tmp_path / "out", model.config_of(SHAPE), weights(SHAPE).items(), tokenizer)
    save([(bytes([one]), b"z") for one in range(60, 70)], tmp_path / "out")
    with pytest.raises(UserError, match="270 words, the model 264"):
        generate(tmp_path / "out", "Hola")


def test_a_broken_tokenizer_is_a_clear_error(tmp_path: Path, tokenizer: Path) -> None:
    (tokenizer / "tokenizer.json").write_text("{}")
    with pytest.raises(UserError, match="no tokenizer that the library loads"):
        export(tmp_path / "out", model.config_of(SHAPE), weights(SHAPE).items(), tokenizer)


def test_an_empty_prompt_begins_a_document_and_a_long_one_is_refused(
    tmp_path: Path, tokenizer: Path
) -> None:
    export(tmp_path / "out", model.config_of(SHAPE), weights(SHAPE).items(), tokenizer)
    assert isinstance(generate(tmp_path / "out", "", tokens=3), str)
    with pytest.raises(UserError, match="the prompt has 40 tokens, the model reads 40"):
        generate(tmp_path / "out", "x" * 40)


def test_the_command_writes_what_the_function_gives(tmp_path: Path, tokenizer: Path) -> None:
    export(tmp_path / "out", model.config_of(SHAPE), weights(SHAPE).items(), tokenizer)
    wanted = generate(tmp_path / "out", "Hola", tokens=5)
    given = ["lm", "generate", str(tmp_path / "out"), "Hola", "--tokens", "5"]
    plain, told = (CliRunner().invoke(build(), [*given, *more]) for more in ([], ["--json"]))
    assert plain.exit_code == told.exit_code == 0, (told.output, told.exception)
    assert plain.stdout == lines(wanted) + "\n"
    assert json.loads(told.stdout)["text"] == wanted


def test_the_command_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = CliRunner().invoke(build(), ["lm", "generate", str(tmp_path), "Hola"])
    assert isinstance(done.exception, UserError)
    monkeypatch.setattr(model_commands, "find_spec", lambda _: None)
    done = CliRunner().invoke(build(), ["lm", "generate", str(tmp_path), "Hola"])
    assert "pip install 'ayni[lm]'" in str(done.exception)


def test_a_full_disk_is_told(
    tmp_path: Path, tokenizer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ayni.lm.tokenizer.model.keep", full)
    with pytest.raises(UserError, match="cannot be written: No space left on device"):
        export(tmp_path / "out", model.config_of(SHAPE), weights(SHAPE).items(), tokenizer)
    assert [path.name for path in tmp_path.iterdir()] == ["words"]
