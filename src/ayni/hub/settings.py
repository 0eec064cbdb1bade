"""Django's settings. What an installation may change comes from the environment (docs/operators/hub.md)."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any

import dj_database_url

from ayni.errors import UserError

# Everything that the embedded default keeps lies in this folder.
STATE = Path(os.environ.get("AYNI_HUB_STATE", "~/.local/share/ayni/hub")).expanduser().absolute()
DEBUG = False

# The address that people, agents and signed URLs use.
HUB_URL = os.environ.get("AYNI_HUB_URL", "http://127.0.0.1:8080").rstrip("/")
ALLOWED_HOSTS = os.environ.get("AYNI_ALLOWED_HOSTS", "*").split(",")
CSRF_TRUSTED_ORIGINS = [HUB_URL]

DATABASE_URL = os.environ.get("AYNI_DATABASE_URL", f"sqlite:///{STATE / 'hub.sqlite3'}")


def _database(url: str) -> dict[str, Any]:
    """What Django wants to know. The URL is not repeated to anybody: it may hold a password."""
    try:
        found = dj_database_url.parse(url, conn_max_age=600, conn_health_checks=True)
    except ValueError:
        found = {}
    if found.get("ENGINE", "").rpartition(".")[2] not in ("sqlite3", "postgresql"):
        raise UserError(
            "AYNI_DATABASE_URL: names no database of ours; write postgres://user:password@host/name "
            "(with special characters as %XX), or leave it unset for SQLite"
        )
    return {**found}


DATABASES = {"default": _database(DATABASE_URL)}
IS_SQLITE = DATABASES["default"]["ENGINE"].endswith("sqlite3")
if IS_SQLITE:
    DATABASES["default"]["ENGINE"] = "ayni.hub.db.sqlite3"  # Django's, with a line for writers
    # Each thread has a connection, and each connection a cache of its own, which fills as the database
    # grows: a small one. What is read comes through the system's cache, which all share (mmap, 2 GiB).
    DATABASES["default"]["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 30,
        "init_command": (
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA cache_size=-8192;"
            "PRAGMA temp_store=MEMORY; PRAGMA mmap_size=2147418112; PRAGMA foreign_keys=ON;"
        ),
    }

# The store of project files: a folder with our own small file server, or an S3 bucket.
STORE_URL = os.environ.get("AYNI_STORE_URL", (STATE / "store").as_uri())
FILES_URL = os.environ.get("AYNI_FILES_URL", "http://127.0.0.1:8081").rstrip("/")


def _secret() -> str:
    """Django's own secret: from the environment, else made once and kept in the state folder."""
    if value := os.environ.get("AYNI_SECRET_KEY"):
        return value
    path = STATE / "secret-key"
    try:
        return path.read_text()
    except FileNotFoundError:
        value = secrets.token_urlsafe(50)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(value)
        return value


SECRET_KEY = _secret()

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_htmx",
    "ayni.hub.accounts",
    "ayni.hub.calls",
    "ayni.hub.network",
    "ayni.hub.catalogue",
    "ayni.hub.tasks",
    "ayni.hub.store",
    "ayni.hub.channels",
    "ayni.hub.ledger",
    "ayni.hub.portal",
]

# The programs' endpoints (TES, our API, sync) pass through none of this but the first two:
# `ayni.hub.http` routes them past sessions, CSRF and locale.
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "ayni.hub.http.ProgramsFirst",
    "ayni.hub.portal.middleware.PageHeaders",
    "django.middleware.gzip.GZipMiddleware",  # pages over slow links; it pads against BREACH
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
]

ROOT_URLCONF = "ayni.hub.urls"
WSGI_APPLICATION = "ayni.hub.wsgi.application"
AUTH_USER_MODEL = "accounts.Person"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "django.template.context_processors.i18n",
                "ayni.hub.portal.context.portal",
            ]
        },
    }
]

LANGUAGE_CODE = "es"
LANGUAGES = [("es", "Español"), ("pt", "Português"), ("en", "English")]
LOCALE_PATHS = [Path(__file__).parent / "locale"]
USE_TZ = True
TIME_ZONE = "UTC"

STATIC_URL = "/static/"
STATIC_ROOT = STATE / "static"

SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HUB_URL.startswith("https://")
SESSION_COOKIE_SAMESITE = "Lax"
SECURE_CONTENT_TYPE_NOSNIFF = True
X_FRAME_OPTIONS = "DENY"

DATA_UPLOAD_MAX_MEMORY_SIZE = 32 << 20  # an array of 100,000 parameters fits

EMAIL_BACKEND = os.environ.get("AYNI_EMAIL_BACKEND", "django.core.mail.backends.smtp.EmailBackend")
EMAIL_HOST = os.environ.get("AYNI_EMAIL_HOST", "localhost")
EMAIL_PORT = int(os.environ.get("AYNI_EMAIL_PORT", "25"))
DEFAULT_FROM_EMAIL = os.environ.get("AYNI_EMAIL_FROM", "ayni@localhost")

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": os.environ.get("AYNI_LOG_LEVEL", "INFO")},
    "loggers": {
        "django.request": {"level": "ERROR"},
        "django.security.DisallowedHost": {"level": "CRITICAL"},  # any scanner could fill the log
    },
}
