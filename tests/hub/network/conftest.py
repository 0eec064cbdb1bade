"""No listener stays on the test database: it could not be dropped otherwise."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def _no_listener_stays(django_db_setup: None) -> Iterator[None]:
    from ayni.hub.network import wake

    yield
    wake.deafen()
