"""Project files over /api/v1."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ayni.hub.store import commit
from ayni.hub.store.models import File, Upload
from tests.hub import factories
from tests.hub.conftest import API, Api
from tests.hub.store.server import WEB
from tests.hub.store.support import BLOCK, attempt, blocks, content, pieces, put, read, uploaded


@pytest.fixture
def files(store_folder: Path, api: Api) -> Api:
    return api


def declaration(path: str, data: bytes) -> dict[str, Any]:
    return {"path": path, **blocks(data).model_dump()}


def send(api: Api, path: str, data: bytes) -> Any:
    """All that a client does to put a file; the answer to the commit."""
    answer = api.post(f"{API}/uploads", declaration(path, data)).json()
    put([(m["n"], m["url"]) for m in answer["missing"]], data)
    return api.post(f"{API}/uploads/{answer['upload']}/commit")


def test_a_file_is_put_and_got(files: Api) -> None:
    data = content(2 * BLOCK + 5)
    committed = send(files, "dir/f", data)
    assert committed.status_code == 200
    assert committed.json()["path"] == "dir/f"
    manifest = files.get(f"{API}/files/manifest", {"path": "dir/f"}).json()
    got = b"".join(WEB.get(b["url"]).content for b in manifest["blocks"])
    assert got == data
    assert [b["size"] for b in manifest["blocks"]] == [BLOCK, BLOCK, 5]


def test_a_commit_names_the_missing_blocks(files: Api) -> None:
    data = content(3 * BLOCK)
    answer = files.post(f"{API}/uploads", declaration("f", data))
    assert answer.status_code == 201
    told = answer.json()
    put([(m["n"], m["url"]) for m in told["missing"][:1]], data)
    refused = files.post(f"{API}/uploads/{told['upload']}/commit")
    assert refused.status_code == 409
    assert refused.json()["missing"] == [1, 2]
    assert not File.objects.exists()


def test_a_commit_may_be_repeated(files: Api) -> None:
    answer = send(files, "f", b"bytes")
    upload = Upload.objects.get()
    again = files.post(f"{API}/uploads/{upload.pk}/commit")
    assert (again.status_code, again.json()) == (200, answer.json())


def test_a_listing_goes_page_by_page_in_order(files: Api) -> None:
    names = ["a", "b/1", "b/2", "b-c", "b0", "ñ", "z"]
    for name in names:
        commit.commit(uploaded(files.project, name, name.encode()))
    seen, token = [], ""
    while True:
        page = files.get(f"{API}/files", {"page_size": 2, "page_token": token}).json()
        seen += [f["path"] for f in page["files"]]
        if not (token := page["next_page_token"]):
            break
    assert seen == sorted(names)
    only = files.get(f"{API}/files", {"prefix": "b/"}).json()
    assert [f["path"] for f in only["files"]] == ["b/1", "b/2"]
    assert only["used"] == sum(len(n.encode()) for n in names)
    assert only["quota"] == files.project.quota


def test_the_systems_files_show_when_asked_for(files: Api) -> None:
    row = attempt(files.project, factories.site())
    commit.commit(uploaded(files.project, "a", b"x"))
    upload = uploaded(files.project, ".ayni/logs/x/0.stdout", b"log", row)
    commit.commit(upload)
    assert [f["path"] for f in files.get(f"{API}/files").json()["files"]] == ["a"]
    logs = files.get(f"{API}/files", {"prefix": ".ayni/"}).json()["files"]
    assert [f["path"] for f in logs] == [".ayni/logs/x/0.stdout"]


def test_a_file_is_deleted(files: Api) -> None:
    send(files, "a", b"x")
    assert files.client.delete(
        f"{API}/files?path=a", headers=factories.auth(files.secret)
    ).json() == {"deleted": 1}
    assert read(files.project, "a") is None
    assert files.get(f"{API}/files").json()["used"] == 0


def test_a_folder_is_deleted_with_all_in_it_and_nothing_else(files: Api) -> None:
    for name in ("d/1", "d/e/2", "d0", "d-", "e/1"):
        send(files, name, name.encode())
    answer = files.client.delete(f"{API}/files?prefix=d/", headers=factories.auth(files.secret))
    assert answer.json() == {"deleted": 2}
    left = files.get(f"{API}/files").json()
    assert [f["path"] for f in left["files"]] == ["d-", "d0", "e/1"]
    assert left["used"] == sum(map(len, ("d-", "d0", "e/1")))


@pytest.mark.parametrize(
    "query", ["", "?path=a&prefix=b", "?path=a&x=1", "?prefix=/", "?path=../x", "?prefix=%00"]
)
def test_a_delete_that_is_not_clear_is_refused(files: Api, query: str) -> None:
    answer = files.client.delete(f"{API}/files{query}", headers=factories.auth(files.secret))
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"


def test_what_is_not_there_is_a_404(files: Api) -> None:
    assert files.get(f"{API}/files/manifest", {"path": "nothing"}).status_code == 404
    gone = files.client.delete(f"{API}/files?path=nothing", headers=factories.auth(files.secret))
    assert gone.status_code == 404
    assert files.post(f"{API}/uploads/{'0' * 32}/commit").status_code == 404
    assert files.post(f"{API}/uploads/%00/commit").status_code == 404


def test_another_projects_files_are_not_to_be_found(
    files: Api, api_for: Callable[..., Api]
) -> None:
    theirs = api_for()
    send(theirs, "secret", b"x")
    upload = theirs.post(f"{API}/uploads", declaration("half", content(100))).json()["upload"]
    assert files.get(f"{API}/files").json()["files"] == []
    assert files.get(f"{API}/files/manifest", {"path": "secret"}).status_code == 404
    assert files.post(f"{API}/uploads/{upload}/commit").status_code == 404
    files.client.delete(f"{API}/files?path=secret", headers=factories.auth(files.secret))
    assert read(theirs.project, "secret") == b"x"


def test_an_attempts_upload_is_not_a_persons_to_commit(files: Api) -> None:
    row = attempt(files.project, factories.site())
    upload = uploaded(files.project, "f", b"x", row)
    assert files.post(f"{API}/uploads/{upload.pk}/commit").status_code == 404


def test_scopes_are_held_to(files: Api) -> None:
    reader = factories.token(files.person, files.project, scopes=["store:read"])
    writer = factories.token(files.person, files.project, scopes=["store:write"])
    reading = Api(files.client, reader, files.person, files.project)
    writing = Api(files.client, writer, files.person, files.project)
    assert reading.get(f"{API}/files").status_code == 200
    assert reading.post(f"{API}/uploads", declaration("f", b"x")).status_code == 403
    assert writing.get(f"{API}/files").status_code == 403
    assert writing.post(f"{API}/uploads", declaration("f", b"x")).status_code == 201
    assert files.client.get(f"{API}/files").status_code == 401


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("path", "../x"),
        ("path", ".ayni/logs/x"),
        ("path", ""),
        ("path", "a\u0000b"),
        ("size", 1 << 62),
        ("size", -5),
        ("size", True),
        ("blocks", []),
        ("sha256", "zz"),
        ("colour", "red"),
    ],
)
def test_a_bad_declaration_names_its_field(files: Api, field: str, value: Any) -> None:
    body = {**declaration("f", content(100)), field: value}
    answer = files.post(f"{API}/uploads", body)
    assert answer.status_code == 400
    assert field in answer.json()["detail"]
    assert not Upload.objects.exists()


def test_over_the_quota_is_a_413_with_the_remedy(store_folder: Path, api_for: Any) -> None:
    small = api_for(quota=10)
    answer = small.post(f"{API}/uploads", declaration("f", content(11)))
    assert answer.status_code == 413
    assert answer.json()["code"] == "quota"
    assert "delete files" in answer.json()["detail"]


def test_a_huge_declaration_takes_no_space_and_is_refused(files: Api) -> None:
    body = {"path": "f", "size": 4 << 40, "sha256": "0" * 64, "block_size": 64 << 20}
    answer = files.post(f"{API}/uploads", {**body, "blocks": ["0" * 64] * 65_536})
    assert answer.status_code == 413
    assert not Upload.objects.exists()


@pytest.mark.parametrize("token", ["x", "!!!!", "AAAA", "_____w"])
def test_a_page_token_of_another_hand_is_refused(files: Api, token: str) -> None:
    assert files.get(f"{API}/files", {"page_token": token}).status_code in (200, 400)


def test_nothing_in_an_answer_is_the_secret(files: Api) -> None:
    answer = files.post(f"{API}/uploads", declaration("f", content(100)))
    from tests.hub.store.server import SECRET

    assert SECRET not in answer.content.decode()
    assert len(pieces(content(100))) == 1
