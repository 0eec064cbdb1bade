"""Which models are taken, and from where."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

torch = pytest.importorskip("torch")

from safetensors.torch import load_file, save_file

from ayni.errors import UserError
from ayni.lm.inner import model
from ayni.lm.inner.settings import Shape, Start
from tests.lm.inner.small import SHAPE


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    model.build(model.config_of(SHAPE), seed=5).save_pretrained(tmp_path)
    return tmp_path


def edit(folder: Path, **changed: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))


def resave(folder: Path, changed: dict[str, Any]) -> None:
    path = folder / "model.safetensors"
    tensors = load_file(path) | changed
    save_file({n: t for n, t in tensors.items() if t is not None}, path, {"format": "pt"})


def test_the_same_seed_gives_the_same_weights_and_leaves_the_generator_alone() -> None:
    torch.manual_seed(0)
    first = torch.rand(3)
    torch.manual_seed(0)
    one, two = (model.named(model.build(model.config_of(SHAPE), seed=4)) for _ in range(2))
    assert torch.equal(torch.rand(3), first)
    assert all(torch.equal(one[name], two[name]) for name in one)
    three = model.named(model.build(model.config_of(SHAPE), seed=5))
    name = "model.embed_tokens.weight"
    assert not torch.equal(one[name], three[name])


def test_parameters_come_sorted_by_name_and_tied_ones_once() -> None:
    names = list(model.named(model.build(model.config_of(SHAPE), seed=0)))
    assert names == sorted(names)
    assert "lm_head.weight" not in names
    untied = Shape(**{**SHAPE.model_dump(), "tie_embeddings": False})
    assert "lm_head.weight" in model.named(model.build(model.config_of(untied), seed=0))


def test_a_checkpoint_is_continued_with_its_weights(folder: Path) -> None:
    found = model.named(model.start(Start(checkpoint=folder), seed=99))
    wanted = model.named(model.build(model.config_of(SHAPE), seed=5))
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_a_checkpoint_in_half_precision_becomes_float32(folder: Path) -> None:
    path = folder / "model.safetensors"
    resave(folder, {name: t.to(torch.bfloat16) for name, t in load_file(path).items()})
    found = model.named(model.start(Start(checkpoint=folder), seed=0))
    assert {t.dtype for t in found.values()} == {torch.float32}


def test_another_family_is_refused_by_name(folder: Path) -> None:
    edit(folder, model_type="gpt_neox")
    with pytest.raises(UserError, match=r"'gpt_neox'.*llama, mistral, qwen2, qwen3"):
        model.start(Start(checkpoint=folder), seed=0)


def test_a_quantised_checkpoint_is_refused(folder: Path) -> None:
    edit(folder, quantization_config={"bits": 4})
    with pytest.raises(UserError, match="quantised"):
        model.start(Start(checkpoint=folder), seed=0)


def test_a_parameter_of_another_shape_is_named(folder: Path) -> None:
    resave(folder, {"model.norm.weight": torch.ones(31)})
    with pytest.raises(UserError, match=r"model.norm.weight has the shape \[31\], .* \[32\]"):
        model.start(Start(checkpoint=folder), seed=0)


@pytest.mark.parametrize("tensor, said", [(None, "lacks"), (torch.ones(2), "has")])
def test_parameters_missing_or_unknown_are_named(folder: Path, tensor: Any, said: str) -> None:
    name = "model.norm.weight" if tensor is None else "model.surprise"
    resave(folder, {name: tensor})
    with pytest.raises(UserError, match=f"{said} {name}"):
        model.start(Start(checkpoint=folder), seed=0)


def test_a_torn_file_is_named(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"model\.safetensors is torn"):
        model.start(Start(checkpoint=folder), seed=0)


def test_files_that_run_code_are_not_read(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"no \*\.safetensors"):
        model.start(Start(checkpoint=folder), seed=0)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"model_type": ["llama"]}'])
def test_a_broken_config_is_a_clear_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(UserError, match="checkpoint"):
        model.read_config(tmp_path)


def test_a_config_with_impossible_values_is_a_clear_error(folder: Path) -> None:
    edit(folder, num_attention_heads=7)
    with pytest.raises(UserError, match=r"config\.json is not llama's"):
        model.read_config(folder)


def test_rows_longer_than_the_model_reads_are_refused() -> None:
    config = model.config_of(Shape(**{**SHAPE.model_dump(), "family": "mistral"}))
    with pytest.raises(UserError, match="context of 64 tokens"):
        model.check_length(config, 65)
    config.sliding_window = 16
    with pytest.raises(UserError, match="sliding window of 16 tokens"):
        model.check_length(config, 17)


@pytest.mark.parametrize(
    "changed, said",
    [({"heads": 5}, "multiple of heads"), ({"kv_heads": 3}, "multiple of kv_heads")],
)
def test_a_shape_that_cannot_be_is_refused(changed: dict[str, int], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Shape(**{**SHAPE.model_dump(), **changed})
