"""Settings that keep a hub on SQLite small, however much it holds."""

from __future__ import annotations

import pytest
from django.db import connection

from ayni.hub.serve import SQLITE_THREADS

pytestmark = pytest.mark.django_db


@pytest.mark.skipif("connection.vendor != 'sqlite'")
def test_the_databases_caches_of_all_threads_together_stay_within_two_gib() -> None:
    with connection.cursor() as cursor:
        [cache] = cursor.execute("PRAGMA cache_size").fetchone()
    assert cache < 0, "in KiB: in pages it would depend on their size"
    assert SQLITE_THREADS * -cache <= 2 << 20
