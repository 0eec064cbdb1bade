from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ayni.hub.network.models import Hub
from tests.hub.store.server import SECRET, RunningServer, running


@pytest.fixture(scope="session")
def file_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with running(tmp_path_factory.mktemp("fileserver")) as server:
        yield server


@pytest.fixture
def store_folder(file_server: RunningServer, settings: Any, db: None) -> Path:
    """The hub's store is the folder of a running file server, which knows the hub's secret."""
    settings.STORE_URL = f"file://{file_server.folder}"
    settings.FILES_URL = file_server.url
    Hub.objects.update_or_create(id=1, defaults={"epoch": "e", "secret": SECRET})
    return file_server.folder
