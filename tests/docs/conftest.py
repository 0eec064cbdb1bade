"""The network that pages of the documentation are pasted against."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ayni.demo import texts
from ayni.demo.alliance import ALLIANCE, PROJECT, sites
from ayni.demo.stage import Stage


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
