"""Snakemake 9 with its TES plugin runs a real workflow: jobs over the network, data in a real S3.

The plugin (0.1.3) passes no backend parameters, so its jobs get the network, and with it the S3 server,
by the site's image (`network = true`). It polls for the first time after 40 s; the workflow that ends well
and the one that fails therefore run side by side.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ayni.client import Network
from ayni.demo.stage import Stage
from tests.live.alliance import NETWORKED, SNAKEMAKE

pytestmark = [pytest.mark.live, pytest.mark.needs("snakemake", "s3")]

SNAKEFILE = Path(__file__).parent / "snakemake" / "Snakefile"
LIMIT = 200  # seconds for a workflow


@dataclass
class Run:
    """A workflow on its way: its process, its folder, where its files are in S3."""

    process: subprocess.Popen[str]
    folder: Path
    prefix: str

    def end(self) -> tuple[int, str]:
        """Exit code, and what it said."""
        said, _ = self.process.communicate(timeout=LIMIT)
        return self.process.returncode, said


def start(stage: Stage, folder: Path, target: str) -> Run:
    folder.mkdir()
    shutil.copy(SNAKEFILE, folder)
    # After a failed task the plugin prints this file, or dies of its absence.
    (folder / "funnel.log").write_text("")
    prefix = f"s3://{os.environ['AYNI_TEST_S3_BUCKET']}/{secrets.token_hex(8)}"
    env = {
        "PATH": f"{SNAKEMAKE / 'bin'}:{os.environ['PATH']}",
        "HOME": str(folder),
        "GITHUB_WORKSPACE": str(folder),
        "NO_PROXY": "127.0.0.1",
        "SNAKEMAKE_TES_TOKEN": stage.secrets["tokens"]["researcher"],
        "SNAKEMAKE_STORAGE_S3_ENDPOINT_URL": os.environ["AYNI_TEST_S3"],
        "SNAKEMAKE_STORAGE_S3_ACCESS_KEY": os.environ["AYNI_TEST_S3_KEY"],
        "SNAKEMAKE_STORAGE_S3_SECRET_KEY": os.environ["AYNI_TEST_S3_SECRET"],
    }
    command = [
        "snakemake", target, "--jobs", "4", "--retries", "0",
        "--executor", "tes", "--tes-url", f"{stage.url}/ga4gh/tes", "--container-image", "snakemake",
        "--default-storage-provider", "s3", "--default-storage-prefix", prefix,
        "--shared-fs-usage", "none", "--seconds-between-status-checks", "2",
    ]  # fmt: skip
    process = subprocess.Popen(
        command, cwd=folder, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    return Run(process, folder, prefix)


@pytest.fixture(scope="module")
def runs(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Run]]:
    folder = tmp_path_factory.mktemp("snakemake")
    found = {
        target: start(stage, folder / target, f"{target}.txt") for target in ("table", "broken")
    }
    yield found
    for run in found.values():
        run.process.kill()
        run.process.wait()


def stored(run: Run, name: str) -> bytes | None:
    """A file of the workflow, as S3 has it."""
    bucket, _, key = f"{run.prefix}/{name}".removeprefix("s3://").partition("/")
    import obstore
    from obstore.store import S3Store

    store = S3Store(
        bucket, endpoint=os.environ["AYNI_TEST_S3"], region="us-east-1",
        access_key_id=os.environ["AYNI_TEST_S3_KEY"],
        secret_access_key=os.environ["AYNI_TEST_S3_SECRET"],
        virtual_hosted_style_request=False, client_options={"allow_http": True},
    )  # fmt: skip
    try:
        return bytes(obstore.get(store, key).bytes())
    except FileNotFoundError:
        return None


def test_a_workflow_of_four_jobs_passes_its_data_through_s3(
    runs: dict[str, Run], network: Network
) -> None:
    code, said = runs["table"].end()
    assert code == 0, said[-6000:]
    assert "4 of 4 steps (100%) done" in said
    table = stored(runs["table"], "table.txt")
    assert table is not None
    assert table.decode() == "".join(f"{n} {n**2} {n**3}\n" for n in range(1, 10))
    for rule in ("numbers", "squares", "cubes", "table"):
        [task] = network.tasks(name=f"snakejob.{rule}.")
        assert (task.state, task.info.site) == ("COMPLETE", NETWORKED)
        # The storage plugin came from the site's own software tree.
        said = task.logs()
        assert f"Looking in links: {SNAKEMAKE}/wheels\n" in said
        assert "Successfully installed snakemake-storage-plugin-s3" in said


def test_a_failing_rule_fails_the_workflow(runs: dict[str, Run], network: Network) -> None:
    code, said = runs["broken"].end()
    assert code == 1, said[-6000:]
    assert "Error in rule broken" in said
    assert stored(runs["broken"], "broken.txt") is None
    [task] = network.tasks(name="snakejob.broken.")
    assert task.state == "EXECUTOR_ERROR"
