"""Every test runs in a state folder of its own; SQLite unless AYNI_DATABASE_URL names PostgreSQL."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import django
import pytest
from hypothesis import HealthCheck, settings

# Before Django's settings are read: they keep a secret key and a store in this folder.
STATE = Path(tempfile.mkdtemp(prefix="ayni-tests-"))
os.environ["AYNI_HUB_STATE"] = str(STATE)
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ayni.hub.settings")
os.environ.setdefault("AYNI_EMAIL_BACKEND", "django.core.mail.backends.locmem.EmailBackend")

# A loaded machine is no failure: tests never assert on times.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

django.setup()  # here, not by an ini option: that would read the settings before STATE is set


def pytest_unconfigure(config: pytest.Config) -> None:
    shutil.rmtree(STATE, ignore_errors=True)


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings_parallel_suffix: None) -> None:
    """SQLite's test database is a file, as in production, so that threads may share it."""
    from django.conf import settings
    from django.db import connections

    if settings.IS_SQLITE:
        test = connections["default"].settings_dict["TEST"]
        worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
        test["NAME"] = str(STATE / f"test-{worker}.sqlite3")


@pytest.fixture(autouse=True)
def _umask_stays():
    """Commands that run within the test's own process narrow the umask; the next test has its own."""
    before = os.umask(0o022)
    os.umask(before)
    yield
    os.umask(before)
