"""The whole way: a person's program, the hub's API, the file server, and back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from django.test import Client

from ayni.hub.store.models import Upload
from ayni.transfer import Mover, TransferError, describe
from ayni.transfer.http import Patience
from ayni.transfer.project import ProjectFiles
from tests.hub.conftest import Api
from tests.hub.store.support import BLOCK, content


def through(client: Client) -> httpx.MockTransport:
    """HTTP that ends in Django's test client, so that it sees the test's transaction."""

    def answer(request: httpx.Request) -> httpx.Response:
        headers = dict(request.headers)
        kind = headers.pop("content-type", "application/octet-stream")
        target = request.url.raw_path.decode()
        told = client.generic(request.method, target, request.content, kind, headers=headers)
        return httpx.Response(told.status_code, headers=dict(told.headers), content=told.content)

    return httpx.MockTransport(answer)


@pytest.fixture
def files(store_folder: Path, api: Api) -> Iterator[ProjectFiles]:
    with (
        httpx.Client(
            transport=through(api.client),
            base_url="http://hub/api/v1",
            headers={"Authorization": f"Bearer {api.secret}"},
        ) as client,
        Mover(workers=2, patience=Patience(tries=2, first=0.001)) as mover,
    ):
        yield ProjectFiles(client, mover)


def test_what_is_put_is_got(files: ProjectFiles, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(content(300_000))
    committed = files.put(source, "a/b")
    assert (committed.path, committed.size) == ("a/b", 300_000)
    files.get("a/b", target)
    assert target.read_bytes() == source.read_bytes()


def test_a_file_of_many_blocks(files: ProjectFiles, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(content(9 * BLOCK + 1))
    files.put(source, "f", described=describe(source, block_size=BLOCK))
    assert len(files.manifest("f").blocks) == 10
    files.get("f", target)
    assert target.read_bytes() == source.read_bytes()


def test_putting_the_same_again_sends_nothing(files: ProjectFiles, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(content(1000))
    files.put(source, "f")
    moved: list[int] = []
    files.put(source, "f", progress=moved.append)
    assert moved == []
    assert Upload.objects.count() == 1


def test_many_are_got_and_what_is_missing_is_said(files: ProjectFiles, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"x")
    files.put(source, "there")
    pairs = [("there", tmp_path / "1"), ("not-there", tmp_path / "2"), ("there", tmp_path / "3")]
    results = files.get_many(pairs)
    assert results[0] is results[2] is None
    assert "not-there" in str(results[1])


@pytest.mark.parametrize("path", ["../x", ".ayni/x", ""])
def test_the_hubs_refusal_is_one_line_for_the_person(
    files: ProjectFiles, tmp_path: Path, path: str
) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"x")
    with pytest.raises(TransferError, match="path") as caught:
        files.put(source, path)
    assert "\n" not in str(caught.value)
