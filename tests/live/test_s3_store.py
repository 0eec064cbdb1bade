"""The store over a real S3 server (`dev/s3.sh up`)."""

from __future__ import annotations

import os
import secrets
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from ayni.hub.store import commit, keys, uploads
from ayni.hub.store.backends import Block, store
from ayni.hub.store.backends.s3 import S3Store
from ayni.hub.store.models import Upload
from ayni.hub.store.sweep import _Walk, sweep
from ayni.transfer import Answer, Incoming, Manifest, Mover, describe
from tests.hub import factories
from tests.hub.store.server import WEB
from tests.hub.store.support import BLOCK, content, declared, put, read, sha, uploaded

ENDPOINT = os.environ.get("AYNI_TEST_S3", "")
pytestmark = [pytest.mark.live, pytest.mark.needs("s3"), pytest.mark.django_db]


@pytest.fixture(autouse=True)
def s3(settings: Any, monkeypatch: pytest.MonkeyPatch) -> S3Store:
    """A store beneath a prefix of its own."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", os.environ["AYNI_TEST_S3_KEY"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", os.environ["AYNI_TEST_S3_SECRET"])
    bucket = os.environ["AYNI_TEST_S3_BUCKET"]
    settings.STORE_URL = f"s3://{bucket}/{secrets.token_hex(8)}?endpoint={ENDPOINT}"
    _Walk.after = ""
    backend = store()
    assert isinstance(backend, S3Store)
    return backend


def test_a_file_goes_in_and_comes_out(s3: S3Store) -> None:
    project = factories.project()
    data = content(5 * BLOCK + 17)
    commit.commit(uploaded(project, "a/b", data))
    assert read(project, "a/b") == data


def test_an_empty_file(s3: S3Store) -> None:
    project = factories.project()
    commit.commit(uploaded(project, "empty", b""))
    assert read(project, "empty") == b""


def test_a_transfer_there_and_back(s3: S3Store, tmp_path: Path) -> None:
    project = factories.project()
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(content(3 * BLOCK + 5))
    d = describe(source, block_size=BLOCK)

    def ask() -> Answer:
        upload = declared(project, "f", source.read_bytes())
        [standing] = uploads.standings([upload])
        missing = [{"n": n, "url": url} for n, url in standing.missing]
        return Answer.model_validate(
            {"upload": standing.upload, "missing": missing, "ready": standing.ready}
        )

    with Mover(workers=2) as mover:
        # Signing needs the hub's thread, where the test's transaction is; only bytes move elsewhere.
        upload = mover.send(source, d, ask)
        file = commit.commit(Upload.objects.get(pk=upload))
        from ayni.hub.store import files

        [found] = files.manifests([file])
        mover.fetch(Incoming(Manifest.model_validate(found), target))
    assert target.read_bytes() == source.read_bytes()


def test_wrong_bytes_are_found_removed_and_asked_for_again(s3: S3Store) -> None:
    project = factories.project()
    data = content(3 * BLOCK)
    upload = declared(project, "f", data)
    [standing] = uploads.standings([upload])
    put(standing.missing[:1], data)
    for _, url in standing.missing[1:]:
        # S3 takes whatever comes: a presigned URL binds neither size nor hash
        assert WEB.put(url, content=content(BLOCK, seed=9)).status_code == 200
    [standing] = uploads.standings([upload])
    assert not standing.ready
    assert [n for n, _ in standing.missing] == [1, 2]
    upload.refresh_from_db()
    [standing] = uploads.standings([upload])
    assert [n for n, _ in standing.missing] == [1, 2]
    put(standing.missing, data)
    upload.refresh_from_db()
    [standing] = uploads.standings([upload])
    assert standing.ready
    commit.commit(upload)
    assert read(project, "f") == data


def test_a_replayed_put_does_not_change_what_was_verified(s3: S3Store) -> None:
    project = factories.project()
    data = content(100)
    upload = declared(project, "f", data)
    [standing] = uploads.standings([upload])
    put(standing.missing, data)
    assert uploads.standings([upload])[0].ready
    [(_, url)] = standing.missing
    assert WEB.put(url, content=content(100, seed=9)).status_code == 200
    upload.refresh_from_db()
    assert uploads.standings([upload])[0].ready
    commit.commit(upload)
    assert read(project, "f") == data


def test_verifying_goes_on_where_time_ran_out(s3: S3Store) -> None:
    project = factories.project()
    data = content(40 * BLOCK)
    upload = declared(project, "f", data)
    put(uploads.standings([upload])[0].missing, data)
    rounds = 0
    while True:
        upload.refresh_from_db()
        before = upload.checked
        [standing] = uploads.standings([upload], seconds=-1)
        rounds += 1
        assert standing.missing == []
        if standing.ready:
            break
        upload.refresh_from_db()
        assert upload.checked > before
    assert rounds > 1
    commit.commit(upload)
    assert read(project, "f") == data


def test_a_range_is_served(s3: S3Store) -> None:
    project = factories.project()
    upload = uploaded(project, "f", content(1000))
    [url] = s3.get_urls([keys.block(project.pk, upload.pk, 0)])
    answer = WEB.get(url, headers={"Range": "bytes=10-19"})
    assert (answer.status_code, answer.content) == (206, content(1000)[10:20])


def test_a_signed_url_does_one_thing_only(s3: S3Store) -> None:
    project = factories.project()
    upload = uploaded(project, "f", content(1000))
    key = keys.block(project.pk, upload.pk, 0)
    [get] = s3.get_urls([key])
    [other] = s3.put_urls([Block(keys.block(project.pk, upload.pk, 1), 4, sha(b"evil"))])
    assert WEB.put(get, content=b"evil").status_code == 403
    assert WEB.put(other.replace("/1?", "/0?"), content=b"evil").status_code == 403
    assert WEB.delete(get).status_code == 403
    assert WEB.get(get.partition("?")[0]).status_code in (400, 403)


def test_sweeping_removes_the_dead_and_the_unknown(s3: S3Store) -> None:
    project = factories.project()
    commit.commit(uploaded(project, "f", b"old"))
    old = Upload.objects.get()
    commit.commit(uploaded(project, "f", b"new"))
    lost = uploaded(project, "g", b"lost")
    half = declared(project, "h", content(2 * BLOCK))
    put(uploads.standings([half])[0].missing[:1], content(2 * BLOCK))
    Upload.objects.filter(pk=lost.pk).delete()
    swept = sweep(timezone.now() + timedelta(hours=3))
    assert (swept.removed, swept.orphans, swept.abandoned) == (1, 1, 0)
    assert s3.arrived(keys.prefix(project.pk, old.pk)) == {}
    assert s3.arrived(keys.prefix(project.pk, lost.pk)) == {}
    assert s3.arrived(keys.prefix(project.pk, half.pk)) == {0: BLOCK}
    assert read(project, "f") == b"new"


def test_the_walk_through_the_store_goes_on_where_it_was(s3: S3Store) -> None:
    project = factories.project()
    made = {uploaded(project, f"f{n}", b"%d" % n).pk for n in range(5)}
    seen: list[str] = []
    after = ""
    for _ in range(5):
        found, after = s3.uploads(after, 2)
        seen += found
        if not after:
            break
    assert seen == sorted(keys.prefix(project.pk, name) for name in made)
