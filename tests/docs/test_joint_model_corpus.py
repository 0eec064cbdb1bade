"""docs/users/joint-model-corpus.md, pasted from top to bottom into a shell."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.docs.pages import ROOT, blocks

PAGE = (ROOT / "docs/users/joint-model-corpus.md").read_text()


def test_the_page_can_be_pasted_from_top_to_bottom(tmp_path: Path) -> None:
    script = "set -e\n" + "\n".join(blocks(PAGE, "sh"))
    env = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert "ayni-counts/1" in done.stdout
    assert (tmp_path / "shards/train-00000.bin").stat().st_size > 0
    assert (tmp_path / "shards/heldout-00000.bin").stat().st_size > 0
