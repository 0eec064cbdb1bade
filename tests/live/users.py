"""An agent that is no root on a real cluster: user `ayni`, who runs projects' tasks as ana and as luis."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sysconfig
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ayni.agent.supervisor import helper
from tests.live.conftest import SLURM
from tests.live.test_slurm import PYTHON, being

AGENT, ANA, LUIS = "ayni", "ayni-ana", "ayni-luis"
CLUSTER = "santiago"
USERS = {"fisica": ANA, "lenguas": LUIS}  # by project


@contextmanager
def shared_folder(clusters: Mapping[str, Any]) -> Iterator[Path]:
    """The agent's folder on the shared file system."""
    folder = Path(clusters["work"]) / f"live-{uuid.uuid4().hex[:8]}"
    with being(AGENT):
        folder.mkdir(mode=0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@contextmanager
def installed_helper(clusters: Mapping[str, Any], shared: Path) -> Iterator[Path]:
    """The helper as root installs it, and the line that lets the agent use it."""
    folder = SLURM.parent / f"helper-{uuid.uuid4().hex[:8]}"
    folder.mkdir(mode=0o755)
    found = folder / "ayni-helper"
    shutil.copy(helper.__file__, found)
    found.chmod(0o755)
    sbatch = shutil.which("sbatch")
    assert sbatch is not None
    conf = clusters["clusters"][CLUSTER]["conf"]
    settings = {"root": str(shared), "bin": str(Path(sbatch).parent), "conf": conf}
    Path(f"{found}.json").write_text(json.dumps(settings))
    sudoers = Path("/etc/sudoers.d") / f"ayni-live-{folder.name[-8:]}"
    sudoers.write_text(f'{AGENT} ALL=({ANA},{LUIS}) NOPASSWD: {found} ""\n')
    sudoers.chmod(0o440)
    subprocess.run(["visudo", "-cqf", sudoers], check=True)
    try:
        yield found
    finally:
        sudoers.unlink()
        shutil.rmtree(folder)


def configuration(hub: str, shared: Path, program: Path, conf: str) -> str:
    """The agent's TOML, up to the sections of a test's own."""
    return f"""
        hub = "{hub}"
        state = "{shared}/state"
        policy.network = true
        policy.max_nodes = 2
        [executor]
        kind = "slurm"
        [executor.slurm]
        shared = "{shared}"
        conf = "{conf}"
        python = "{PYTHON}"
        partitions = ["main"]
        helper = "{program}"
        [executor.slurm.projects.fisica]
        user = "{ANA}"
        account = "fisica"
        qos = "small"
        [executor.slurm.projects.lenguas]
        user = "{LUIS}"
        account = "lenguas"
    """


def agents_environment() -> dict[str, str]:
    """Not of the tests' own Python: that may be root's alone."""
    source = Path(helper.__file__).parents[3]
    return {"PATH": os.environ["PATH"], "PYTHONPATH": f"{source}:{sysconfig.get_path('purelib')}"}
