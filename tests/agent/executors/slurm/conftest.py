"""A site with a simulated Slurm."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agent.executors.slurm.pooled import until
from tests.agent.executors.slurm.simulated import SimulatedSlurm
from tests.agent.executors.slurm.site import Site


@pytest.fixture
def slurm(tmp_path: Path) -> Iterator[SimulatedSlurm]:
    found = SimulatedSlurm(tmp_path / "slurm")
    yield found
    found.close()


@pytest.fixture
def site(tmp_path: Path, slurm: SimulatedSlurm) -> Iterator[Site]:
    found = Site(tmp_path, slurm)
    yield found
    slurm.close()
    found.end()
    until(lambda: not found.left())
