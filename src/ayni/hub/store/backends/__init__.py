"""Where blocks lie: a folder with the small file server (the default), or an S3 bucket."""

from __future__ import annotations

from functools import lru_cache

from django.conf import settings

from ayni.errors import UserError
from ayni.hub.store.backends.base import Backend, Block
from ayni.hub.store.backends.folder import FolderStore
from ayni.hub.store.backends.s3 import S3Store

__all__ = ["Backend", "Block", "FolderStore", "store"]


def store() -> Backend:
    """The store that `AYNI_STORE_URL` names.

    Raises:
        UserError: it names none.
    """
    return _open(settings.STORE_URL, settings.FILES_URL)


@lru_cache(maxsize=4)
def _open(url: str, files_url: str) -> Backend:
    scheme = url.partition("://")[0]
    try:
        if scheme == "file":
            return FolderStore.from_url(url, files_url)
        if scheme == "s3":
            return S3Store.from_url(url)
        raise ValueError(f"{scheme!r} is no kind of store")
    except ValueError as error:
        raise UserError(
            f"AYNI_STORE_URL: {error}; write file:///a/folder or "
            "s3://bucket/prefix?endpoint=https://…, or leave it unset for a folder of the hub's"
        ) from error
