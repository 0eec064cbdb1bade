"""One network for all of these tests, since starting it takes longer than most of them."""

from __future__ import annotations

import logging
import random
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.network.net import ALLIANCE, SITES, Net, Network, dead, until


@dataclass(frozen=True)
class Secrets:
    """Markers that stand in datasets of `norte` and must never be seen elsewhere.

    Attributes:
        closed: of a dataset that lets nothing leave.
        aggregate: of one that lets 2 KiB a task leave.
    """

    closed: bytes
    aggregate: bytes

    def datasets(self, site: str) -> list[tuple[str, bytes, str, str]]:
        """Of a site: name, marker, release and its limit."""
        return {
            "norte": [
                ("cerrado", self.closed, "nothing", "0"),
                ("agregado", self.aggregate, "aggregate", "2KiB"),
            ],
            "sur": [
                ("costa", b"mar", "aggregate", "2KiB"),
                ("mudable", b"hoy", "anything", "0"),  # until a test changes its card
            ],
        }.get(site, [])


@pytest.fixture(scope="session")
def secrets() -> Secrets:
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    closed, aggregate = ("".join(random.choices(letters, k=40)).encode() for _ in range(2))
    return Secrets(closed, aggregate)


@pytest.fixture(scope="session")
def net(secrets: Secrets) -> Iterator[Net]:
    logging.getLogger("httpx").setLevel(logging.WARNING)
    folder = Path(tempfile.mkdtemp(prefix="ayni-network-"))
    stage = Network(folder, ALLIANCE, SITES)
    # Else nobody would end the processes of a run that is itself ended.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        stage.start_hub()
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda name: _prepare(stage, name, secrets), stage.specs))
        del stage.sites["falsa"]  # nobody runs it
        for site in stage.sites.values():
            site.start()
        net = Net(stage)
        until(lambda: _healthy(net), "the sites to be there")
        yield net
        net.alive()
    finally:
        signal.signal(signal.SIGTERM, before)
        stage.stop()
        dead(str(folder))
        subprocess.run(["rm", "-rf", folder], check=False)  # shutil is no match for its depth


def _prepare(stage: Network, site: str, secrets: Secrets) -> None:
    stage.prepare_site(site)
    for name, marker, release, limit in secrets.datasets(site):
        data = stage.site_folder(site) / "data" / name
        data.mkdir(parents=True)
        (data / "texto.txt").write_bytes(b"".join(b"%s%04d\n" % (marker, n) for n in range(200)))
        offer(stage, site, data, release, limit)


def offer(stage: Network, site: str, data: Path, release: str, limit: str = "0") -> None:
    """Make a folder a dataset of the site, or change its card."""
    card = {"version": "1", "licence": "own", "release": release, "release-limit": limit}
    stage.add_datasets(site, [data], **card)


def _healthy(net: Net) -> bool | None:
    states = {site["name"]: site["state"] for site in net.get("/sites")["sites"]}
    return True if states["norte"] == states["sur"] == "healthy" else None
