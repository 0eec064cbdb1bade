from __future__ import annotations

from tests.hub.store.conftest import file_server, store_folder

__all__ = ["file_server", "store_folder"]
