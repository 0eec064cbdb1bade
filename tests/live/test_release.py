"""What is released loads in plain transformers, in an environment that has no Ayni, and writes."""

from __future__ import annotations

import json
import os
import subprocess
import sysconfig
import venv
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from ayni.lm.inner import model  # noqa: E402
from ayni.lm.inner.settings import Shape  # noqa: E402
from ayni.lm.release.export import export  # noqa: E402
from ayni.lm.release.generate import generate  # noqa: E402
from ayni.lm.tokenizer import model as tokenizers  # noqa: E402

pytestmark = pytest.mark.live

PROMPT = "Todos los seres humanos"
SCRIPT = """
import importlib.util, json, sys
from transformers import AutoModelForCausalLM, AutoTokenizer

prompt, *folders = sys.argv[1:]
for folder in folders:
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    start = tokenizer(prompt, return_tensors="pt")
    written = model.generate(**start, max_new_tokens=16, do_sample=False)[0]
    print(json.dumps({
        "ayni": importlib.util.find_spec("ayni") is not None,
        "parameters": sum(p.numel() for p in model.parameters()),
        "text": tokenizer.decode(written, skip_special_tokens=True),
    }))
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment of its own: what is installed here is linked into it, but for Ayni.

    Installing torch once more would take minutes; `ayni` cannot be found either way.
    """
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=True)
    (libraries,) = folder.glob("lib/python*/site-packages")
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if "ayni" not in entry.name and entry.suffix != ".pth":
            (libraries / entry.name).symlink_to(entry)
    return folder / "bin" / "python"


def test_an_exported_model_writes_elsewhere_what_it_writes_here(
    python: Path, tmp_path: Path
) -> None:
    exported = [_exported(family, tmp_path) for family in ("llama", "qwen3")]
    bare = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [str(python), "-I", "-c", SCRIPT, PROMPT, *(str(folder) for folder, _ in exported)],
        capture_output=True, text=True, env=bare, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for (folder, parameters), line in zip(exported, done.stdout.splitlines(), strict=True):
        told = json.loads(line)
        assert told["ayni"] is False
        assert told["parameters"] == parameters
        assert told["text"] == generate(folder, PROMPT, tokens=16)


def _exported(family: Any, place: Path) -> tuple[Path, int]:
    """A model with random weights, and how many parameters it has."""
    shape = Shape(
        family=family, vocab_size=264, hidden_size=32, intermediate_size=48, layers=2, heads=2,
        context=64,
    )  # fmt: skip
    net = model.build(model.config_of(shape), seed=3)
    tokenizers.save([], place / "words")
    weights = ((name, p.detach().numpy()) for name, p in model.named(net).items())
    export(place / family, net.config, weights, place / "words")
    return place / family, sum(p.numel() for p in net.parameters())
