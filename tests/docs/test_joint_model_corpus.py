"""docs/users/joint-model-corpus.md, pasted into a shell; its last part against a network."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from ayni.demo.atlas.corpus import languages
from tests.docs.pages import ROOT, blocks

PAGE = (ROOT / "docs/users/joint-model-corpus.md").read_text()
HERE, AS_A_TASK = PAGE.split("## As a task")
LIMIT = 300.0  # seconds; a tenth of it is usual


#: Sites tell of their datasets when they first speak to the hub.
WAIT = "until ayni datasets | grep -q arn-latn; do sleep 0.2; done\n"


def paste(page: str, folder: Path, before: str = "", **more: str) -> str:
    script = f"set -e\n{before}" + "\n".join(blocks(page, "sh"))
    env = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"} | more
    done = subprocess.run(
        ["bash", "-c", script], cwd=folder, env=env, capture_output=True, text=True, timeout=LIMIT
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    return done.stdout


def test_the_page_can_be_pasted_from_top_to_bottom(tmp_path: Path) -> None:
    assert "ayni-counts/1" in paste(HERE, tmp_path)
    assert (tmp_path / "shards/train-00000.bin").stat().st_size > 0
    assert (tmp_path / "shards/heldout-00000.bin").stat().st_size > 0


def test_a_site_counts_words_of_texts_that_stay_there(network: Path, tmp_path: Path) -> None:
    known = json.loads((network / "credentials.json").read_text())
    hub = {"AYNI_HUB": known["hub"], "AYNI_TOKEN": known["tokens"]["researcher"]}
    local = dict.fromkeys(("NO_PROXY", "no_proxy"), "127.0.0.1,localhost")
    told = paste(AS_A_TASK, tmp_path, WAIT, XDG_CONFIG_HOME=str(tmp_path), **hub, **local)

    header, *lines = (tmp_path / "counted/counts.jsonl").read_text().splitlines()
    text = next(language.text for language in languages() if language.id == "arn_Latn")
    assert json.loads(header)["languages"]["arn"]["documents"] >= 3
    assert lines
    for line in lines:
        language, word, count = json.loads(line)
        assert language == "arn"
        assert text.count(word.strip()) >= count >= 3
        assert line in told
