"""docs/users/tutorial.md, pasted from top to bottom into a shell, against a network of real processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ayni.demo import texts
from ayni.demo.alliance import ALLIANCE, PROJECT, sites
from ayni.demo.stage import Stage
from tests.docs.pages import ROOT, blocks

USERS = ROOT / "docs" / "users"
TUTORIAL = (USERS / "tutorial.md").read_text()
LIMIT = 300.0  # seconds; a tenth of it is usual


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Path]:
    """The demonstration's network without its story: the folder that holds `credentials.json`."""
    folder = tmp_path / "network"
    stage = Stage(folder, ALLIANCE, sites())
    try:
        home = texts.lay_out(tmp_path / "data").home
        stage.start_hub()
        with ThreadPoolExecutor(len(stage.specs)) as threads:
            list(threads.map(stage.prepare_site, stage.specs))
        stage.add_datasets(
            "santiago", home["santiago"], version="2025", licence=texts.LICENCE,
            residency="site", release="aggregate", **{"release-limit": texts.RELEASE_LIMIT},
        )  # fmt: skip
        for site in stage.sites.values():
            site.start()
        credentials = {"hub": stage.url, "project": PROJECT, "tokens": stage.secrets["tokens"]}
        (folder / "credentials.json").write_text(json.dumps(credentials))
        yield folder
    finally:
        stage.stop()
    assert not processes_that_name(folder)


def processes_that_name(folder: Path) -> list[str]:
    """Command lines of what still runs and names the folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                line = (
                    (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                )
            except OSError:
                continue  # it ended meanwhile
            if str(folder) in line:
                found.append(line)
    return found


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


@pytest.mark.parametrize("language", ["es", "pt"])
def test_the_translations_hold_the_same_commands(language: str) -> None:
    translated = (USERS / f"tutorial.{language}.md").read_text()
    assert blocks(translated, "sh") == blocks(TUTORIAL, "sh")
    assert translated.count("\n## ") == TUTORIAL.count("\n## ")
