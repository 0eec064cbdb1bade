"""What `AYNI_STORE_URL` may say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ayni.errors import UserError
from ayni.hub.store.backends import FolderStore, store


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("", "'' is no kind of store"),
        ("nonsense", "'nonsense' is no kind of store"),
        ("http://host/x", "'http' is no kind of store"),
        ("file://", "names no folder"),
        ("file:///", "names no folder"),
        ("file://store", "names no folder"),
        ("s3://", "names no bucket"),
        ("s3://[::1/x", "Invalid IPv6 URL"),
        ("s3://bucket?endpoint=:::", "endpoint ':::' is no address"),
        ("s3://bucket?endpoint=ftp://host", "endpoint 'ftp://host' is no address"),
        ("s3://bucket?secret=x", "unknown options ['secret']"),
    ],
)
def test_a_url_that_names_no_store_is_told_with_what_to_write(
    settings: Any, url: str, fault: str
) -> None:
    settings.STORE_URL = url
    with pytest.raises(UserError) as caught:
        store()
    assert str(caught.value).startswith("AYNI_STORE_URL: ")
    assert fault in str(caught.value)
    assert "write file:///a/folder or s3://" in str(caught.value)


def test_a_folder_may_have_a_space_in_its_name(settings: Any, tmp_path: Path) -> None:
    folder = tmp_path / "mis datos"
    settings.STORE_URL = folder.as_uri()
    found = store()
    assert isinstance(found, FolderStore)
    assert found.folder == folder
