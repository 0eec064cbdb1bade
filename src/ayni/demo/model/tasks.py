"""What the model of the demo asks of the network: texts counted, one tokenizer, shards, and the run.

Each site's texts become tokens where they are. What its counting task releases is a list of the words that
stand in five documents; the shards stay in a volume, on which its training goes on.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ayni.demo.alliance import PROJECT, SITE_OF
from ayni.demo.model import charter
from ayni.demo.model.holdings import NAME

RUN = "lenguas"
UP = f"{RUN}-up"  # from the sites
CHANNEL = f"{PROJECT}/{UP}"
WORDS = 1024  # tokens, all in all
_FILES = f"ayni://{PROJECT}/model"

LENGTH, ROWS = 64, 8  # tokens of a row, rows of a step
STEPS = 240
PHASES = ((0, 8), (40, 12), (160, 16))  # from a step on, rounds of so many


def parameters() -> list[dict[str, str]]:
    """One entry to a site."""
    return [{"site": site, "texts": f"ayni://{site}/{NAME}/"} for site in SITE_OF.values()]


def _task(name: str, description: str, command: str, **more: Any) -> dict[str, Any]:
    backend = {"walltime": "5m", "max_attempts": "5", **more.pop("backend", {})}
    return {
        "name": name,
        "description": description,
        "executors": [{"image": "python", "command": ["sh", "-c", command]}],
        "resources": {"cpu_cores": 1, "ram_gb": 1.0, "backend_parameters": backend},
        **more,
    }


_TEXTS = {"url": "{{texts}}", "path": "/data/texts", "type": "DIRECTORY"}


def count(held_out: float) -> dict[str, Any]:
    """The template of the tasks that count each site's words."""
    return _task(
        "palabras {{site}}",
        "The words of a site's texts that stand in five documents of a language, counted where they are.",
        'exec python3 -m ayni lm tokenizer count "$AYNI_ROOT/data/texts" '
        f'--held-out {held_out} --out "$AYNI_ROOT/out/counts.jsonl" --json',
        inputs=[_TEXTS],
        outputs=[{"url": f"{_FILES}/counts/{{{{site}}}}.jsonl", "path": "/out/counts.jsonl"}],
    )


LEARN = _task(
    "vocabulario",
    "One tokenizer from all sites' counts.",
    'exec python3 -m ayni lm tokenizer train "$AYNI_ROOT"/counts/*.jsonl '
    f'--size {WORDS} --out "$AYNI_ROOT/work" --json',
    inputs=[{"url": f"{_FILES}/counts/", "path": "/counts", "type": "DIRECTORY"}],
    outputs=[{"url": f"{_FILES}/tokenizer/tokenizer.json", "path": "/work/tokenizer.json"}],
)


def pack(site: str, member: str, held_out: float) -> dict[str, Any]:
    """The task that makes tokens of a site's texts, in a volume that stays there."""
    return _task(
        f"tokens {site}",
        "A site's texts as tokens, in a volume that stays there.",
        'exec python3 -m ayni lm corpus pack "$AYNI_ROOT/data/texts" '
        '--tokenizer "$AYNI_ROOT/tokenizer/tokenizer.json" '
        f'--member {member} --site {site} --held-out {held_out} --out "$AYNI_ROOT/state/shards" --json',
        inputs=[
            _TEXTS | {"url": f"ayni://{site}/{NAME}/"},
            {"url": f"{_FILES}/tokenizer/tokenizer.json", "path": "/tokenizer/tokenizer.json"},
        ],
        backend={"volume": f"{RUN}:/state"},
    )


_RUN = f"""\
run = "{RUN}"
project = "{PROJECT}"
tokenizer = {{tokenizer}}

[model.shape]
vocab_size = {{words}}
hidden_size = 96
intermediate_size = 256
layers = 3
heads = 3
context = {LENGTH}

[training]
precision = "fp32"
checkpoint_every = 20

[training.schedule]
warmup = {STEPS // 12}
decay_from = {STEPS * 2 // 3}
decay_steps = {STEPS // 3}

[training.optimiser]
name = "muon"
lr = 0.005

[training.data]
length = {LENGTH}
batch = {ROWS}

[outer]
steps = {STEPS}
codec = "int8"
grace = 1.0
"""
_PHASE = """
[[outer.phases]]
from_step = {start}
inner_steps = {length}
"""
_SITE = f"""
[[sites]]
site = "{{site}}"
data = "/state/shards"
volume = "{RUN}"
image = "python"
time = "20m"
cores = 1
mem = "1536M"
"""


def run_toml(tokenizer: Path, words: int, licence: str) -> str:
    """The run's configuration. `tokenizer`: its folder; `words`: it has; `licence`: of the texts."""
    phases = (_PHASE.format(start=start, length=length) for start, length in PHASES)
    sites = (_SITE.format(site=site) for site in SITE_OF.values())
    return "".join(
        [
            _RUN.format(tokenizer=json.dumps(str(tokenizer)), words=words),
            charter.toml(licence),
            *phases,
            *sites,
        ]
    )
