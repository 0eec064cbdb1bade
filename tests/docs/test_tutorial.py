"""docs/users/tutorial.md, pasted from top to bottom into a shell, against a network of real processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, blocks

USERS = ROOT / "docs" / "users"
TUTORIAL = (USERS / "tutorial.md").read_text()
LIMIT = 300.0  # seconds; a tenth of it is usual


def paste(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run it as a person would who has just opened a shell in the checkout."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("AYNI_", "DJANGO_"))}
    env = clean | {
        "PATH": f"{Path(sys.executable).parent}:{clean['PATH']}",
        "XDG_CONFIG_HOME": str(folder / "config"),
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
    }
    return subprocess.run(
        ["bash", "-c", script], cwd=ROOT, env=env, capture_output=True, text=True, timeout=LIMIT
    )


def test_the_tutorial_can_be_pasted_from_top_to_bottom(network: Path, tmp_path: Path) -> None:
    script = "set -e\n" + "\n".join(blocks(TUTORIAL, "sh"))
    for shown, here in (("/tmp/ayni-demo", network), ("/tmp/ayni-try", tmp_path / "try")):
        assert shown in script
        script = script.replace(shown, str(here))
    script = script.replace(". .venv/bin/activate\n", "")  # tests may run in another one

    done = paste(script, tmp_path)

    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    here = tmp_path / "try"
    assert (here / "sum" / "sum.txt").read_text() == "0\n1\n2\n"
    assert "ñi" in (here / "mapudungun" / "words.txt").read_text()
    said = done.stdout.split("\n")
    assert any(line.split() == ["3", "pera"] for line in said)
    assert "step 3" in said
    refused = [line for line in said if line.startswith("✗ bogota")]
    assert any("walltime" in line for line in refused)
    assert any("network" in line for line in refused)
    assert any(line.endswith("the data must stay at santiago") for line in refused)
    assert "Bogota: 12.471 hours" in said
    assert "reversed/0/out.txt onu" in said


def test_the_page_of_volumes_can_be_pasted_from_top_to_bottom(
    network: Path, tmp_path: Path
) -> None:
    known = json.loads((network / "credentials.json").read_text())
    here = tmp_path / "try"
    begin = (
        f"set -e; mkdir {here}; cd {here}; export AYNI_HUB={known['hub']} "
        f"AYNI_TOKEN={known['tokens']['researcher']}\n"
    )
    page = "\n".join(blocks((USERS / "volumes.md").read_text(), "sh"))

    done = paste(begin + page, tmp_path)

    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    said = done.stdout.split("\n")
    assert "42" in said
    assert any(line.startswith("done at 12") for line in said)
    assert "50.5" in said


@pytest.mark.parametrize("language", ["es", "pt"])
def test_the_translations_hold_the_same_commands(language: str) -> None:
    translated = (USERS / f"tutorial.{language}.md").read_text()
    assert blocks(translated, "sh") == blocks(TUTORIAL, "sh")
    assert translated.count("\n## ") == TUTORIAL.count("\n## ")
