"""What the live tests stand on: the servers they need, and a network of real processes."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ayni.client import Network
from ayni.demo.stage import Stage
from tests.live.alliance import ALLIANCE, SNAKEMAKE, sites

#: What `make slurm-up` tells of its clusters.
SLURM = Path(os.environ.get("AYNI_SLURM_DIR", "/var/tmp/ayni-slurm")) / "clusters.json"
#: The software tree of `dev/mpi.sh`.
MPI = SLURM.with_name("mpi")
#: What a test may need, whether it is here, and how one gets it.
NEEDS: dict[str, tuple[Callable[[], bool], str]] = {
    "charliecloud": (lambda: shutil.which("ch-run") is not None, "apt install charliecloud"),
    "chromium": (
        lambda: shutil.which("chromium") is not None and _installed("playwright"),
        "apt install chromium, pip install -e '.[live]'",
    ),
    "modules": (
        Path("/etc/profile.d/modules.sh").exists,
        "apt install environment-modules",
    ),
    "mpich": ((MPI / "bin" / "pi").exists, "dev/mpi.sh"),
    "postgres": (
        lambda: "AYNI_TEST_POSTGRES" in os.environ,
        'dev/postgres.sh up, then eval "$(dev/postgres.sh env)"',
    ),
    "py-tes": (lambda: _installed("tes"), "pip install -e '.[live]'"),
    "s3": (lambda: "AYNI_TEST_S3" in os.environ, 'dev/s3.sh up, then eval "$(dev/s3.sh env)"'),
    "slurm": (lambda: SLURM.exists() and os.geteuid() == 0, "make slurm-up, and be root"),
    "sudo": (lambda: shutil.which("sudo") is not None, "make slurm-up"),
    "snakemake": ((SNAKEMAKE / "bin" / "snakemake").exists, "dev/snakemake.sh"),
}


def _installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", f"needs(*names): skipped without one of {', '.join(NEEDS)}; fails in make live"
    )


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers("needs"):
        for name in mark.args:
            need(name)


def need(name: str) -> None:
    """Skip this test where a server or tool is missing; with AYNI_LIVE=1, fail."""
    here, remedy = NEEDS[name]
    if here():
        return
    say = pytest.fail if os.environ.get("AYNI_LIVE") else pytest.skip
    say(f"there is no {name} here: {remedy}")


@contextmanager
def running(folder: Path) -> Iterator[Stage]:
    """A hub and its three sites, ended with everything that they started."""
    stage = Stage(folder, ALLIANCE, sites())
    try:
        stage.start_hub()
        for name in stage.specs:
            stage.prepare_site(name)
            stage.sites[name].start()
        yield stage
    finally:
        stage.stop()


def client(stage: Stage, label: str = "researcher") -> Network:
    return Network(stage.url, stage.secrets["tokens"][label])


@pytest.fixture(scope="session", autouse=True)
def no_proxy() -> Iterator[None]:
    """Clients of others that run in this process must not look for loopback through a proxy."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_PROXY", "127.0.0.1,localhost")
        patch.setenv("no_proxy", "127.0.0.1,localhost")
        yield


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """The network that the tests of this session share."""
    with running(tmp_path_factory.mktemp("network")) as found:
        yield found


@pytest.fixture(scope="session")
def network(stage: Stage) -> Iterator[Network]:
    """The shared network, as the researcher sees it."""
    with client(stage) as found:
        yield found
