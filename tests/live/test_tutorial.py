"""docs/users/tutorial.md, pasted block by block into a shell, against the demonstration's network."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.pages import blocks

pytestmark = pytest.mark.live

ROOT = Path(__file__).parents[2]
TUTORIAL = ROOT / "docs" / "users" / "tutorial.md"
START_LIMIT = 300.0  # seconds


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of `ayni demo --keep --atlas`, once its network stays up."""
    folder = tmp_path_factory.mktemp("demo")
    state, log = folder / "state", folder / "log"
    with log.open("wb") as output:
        demo = subprocess.Popen(
            [
                sys.executable, "-m", "ayni", "demo", "--keep", "--atlas",
                "--state", state, "--out", folder,
            ],
            stdout=output,
            stderr=output,
            cwd=folder,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + START_LIMIT
        while "stays up" not in log.read_text():
            assert demo.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.5)
        yield state
    finally:
        demo.send_signal(signal.SIGTERM)
        demo.wait(60)


def _blocks(text: str) -> list[str]:
    text = re.sub(r"<!-- not run -->\n```sh\n.*?```", "", text, flags=re.DOTALL)
    return re.findall(r"```sh\n(.*?)```", text, flags=re.DOTALL)


def test_the_tutorial_can_be_pasted_from_top_to_bottom(network: Path, tmp_path: Path) -> None:
    script = "set -e\n" + "\n".join(_blocks(TUTORIAL.read_text()))
    for shown, here in (("/tmp/ayni-demo", network), ("/tmp/ayni-try", tmp_path / "try")):
        script = script.replace(shown, str(here))
    script = script.replace(". .venv/bin/activate\n", "")
    env = {k: v for k, v in os.environ.items() if not k.startswith("AYNI_")}
    path = f"{Path(sys.executable).parent}:{env['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=ROOT,
        env={**env, "PATH": path, "XDG_CONFIG_HOME": str(tmp_path / "config")},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    here = tmp_path / "try"
    assert (here / "sum" / "sum.txt").read_text() == "0\n1\n2\n"
    assert "ñi" in (here / "mapudungun" / "words.txt").read_text()
    assert "onu" in done.stdout


@pytest.mark.parametrize("page", ["tes", "arrays", "residency"])
def test_the_other_pages_for_users_can_be_pasted_too(
    page: str, network: Path, tmp_path: Path
) -> None:
    text = (ROOT / "docs" / "users" / f"{page}.md").read_text()
    credentials = json.loads((network / "credentials.json").read_text())
    env = {k: v for k, v in os.environ.items() if not k.startswith("AYNI_")} | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "AYNI_HUB": credentials["hub"],
        "AYNI_TOKEN": credentials["tokens"]["researcher"],
    }
    done = subprocess.run(
        ["bash", "-c", "set -eo pipefail\n" + "\n".join(blocks(text, "sh"))],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
