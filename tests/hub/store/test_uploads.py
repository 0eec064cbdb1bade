"""Declaring, resuming, quotas."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from ayni.hub.store import commit, keys, quota, uploads
from ayni.hub.store.declaration import Blocks, Refused
from ayni.hub.store.models import Upload
from tests.hub import factories
from tests.hub.store.support import (
    BLOCK,
    attempt,
    blocks,
    content,
    declare,
    declared,
    pieces,
    put,
    read,
    sha,
    uploaded,
)


def test_a_file_goes_in_and_comes_out(store_folder: Path) -> None:
    project = factories.project()
    data = content(3 * BLOCK + 17)
    commit.commit(uploaded(project, "a/b", data))
    assert read(project, "a/b") == data


def test_an_empty_file_is_ready_at_once(store_folder: Path) -> None:
    project = factories.project()
    commit.commit(uploaded(project, "empty", b""))
    assert read(project, "empty") == b""


def test_the_same_declaration_again_goes_on_where_it_was(store_folder: Path) -> None:
    project = factories.project()
    data = content(4 * BLOCK)
    upload = declared(project, "f", data)
    [standing] = uploads.standings([upload])
    assert [n for n, _ in standing.missing] == [0, 1, 2, 3]
    put(standing.missing[1:3], data)
    again = declared(project, "f", data)
    [standing] = uploads.standings([again])
    assert again.pk == upload.pk
    assert [n for n, _ in standing.missing] == [0, 3]
    assert quota.used(project) == len(data)


def test_other_content_is_another_upload(store_folder: Path) -> None:
    project = factories.project()
    one, two = declared(project, "f", content(9, 1)), declared(project, "f", content(9, 2))
    assert one.pk != two.pk


def test_what_is_committed_already_is_ready(store_folder: Path) -> None:
    project = factories.project()
    upload = uploaded(project, "f", content(100))
    commit.commit(upload)
    again = declared(project, "f", content(100))
    [standing] = uploads.standings([again])
    assert (standing.upload, standing.ready) == (upload.pk, True)
    assert again.expires is None, "a committed upload must not begin to expire"


def test_a_block_that_was_lost_from_the_store_is_missing_again(store_folder: Path) -> None:
    project = factories.project()
    data = content(2 * BLOCK)
    upload = declared(project, "f", data)
    [standing] = uploads.standings([upload])
    put(standing.missing, data)
    keys.file_of(store_folder, keys.block(project.pk, upload.pk, 1)).unlink()
    [standing] = uploads.standings([upload])
    assert [n for n, _ in standing.missing] == [1]


def test_an_answer_names_only_so_many_blocks(
    store_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "MISSING_AT_ONCE", 3)
    [standing] = uploads.standings([declared(factories.project(), "f", content(5 * BLOCK))])
    assert [n for n, _ in standing.missing] == [0, 1, 2]
    assert not standing.ready


@pytest.mark.parametrize(
    "change",
    [
        {"size": -1},
        {"size": 1 << 60},
        {"size": BLOCK * 2 + 1},
        {"block_size": 1},
        {"block_size": 1 << 30},
        {"sha256": "A" * 64},
        {"sha256": "0" * 63},
        {"blocks": ["0" * 64]},
        {"blocks": ["0" * 64] * 70_000},
        {"size": "131072"},
        {"extra": 1},
    ],
)
def test_a_declaration_that_does_not_add_up_is_refused(change: dict[str, object]) -> None:
    right = blocks(content(2 * BLOCK)).model_dump()
    Blocks.model_validate(right)
    with pytest.raises(ValidationError):
        Blocks.model_validate({**right, **change})


def test_one_block_and_the_whole_have_the_same_hash() -> None:
    with pytest.raises(ValidationError):
        Blocks(size=5, sha256=sha(b"other"), block_size=BLOCK, blocks=[sha(b"bytes")])
    with pytest.raises(ValidationError):
        Blocks(size=0, sha256=sha(b"other"), block_size=BLOCK, blocks=[])


# --- quotas ---


def test_what_does_not_fit_is_refused_and_takes_nothing(store_folder: Path) -> None:
    project = factories.project(quota=1000)
    assert isinstance(declare(project, "a", content(600)), Upload)
    refused = declare(project, "b", content(401))
    assert isinstance(refused, Refused)
    assert refused.code == "quota"
    assert refused.status == 413
    assert "400" in str(refused)
    assert quota.used(project) == 600
    assert isinstance(declare(project, "c", content(400)), Upload)


def test_many_at_once_do_not_exceed_the_quota_together(store_folder: Path) -> None:
    project = factories.project(quota=1000)
    wanted = [uploads.Declaration(project, f"f{n}", blocks(content(300, seed=n))) for n in range(5)]
    outcomes = uploads.declare(wanted)
    assert [isinstance(o, Upload) for o in outcomes] == [True, True, True, False, False]
    assert quota.used(project) == 900


def test_a_replaced_file_gives_its_room_back(store_folder: Path) -> None:
    project = factories.project(quota=1000)
    commit.commit(uploaded(project, "f", content(400, 1)))
    second = uploaded(project, "f", content(500, 2))
    assert quota.used(project) == 900
    commit.commit(second)
    assert quota.used(project) == 500
    assert quota.recount(project) == 500


# --- files and folders ---


@pytest.mark.parametrize(("first", "second"), [("a", "a/b"), ("a/b", "a"), ("a/b/c", "a/b")])
def test_a_file_is_no_folder(store_folder: Path, first: str, second: str) -> None:
    project = factories.project()
    commit.commit(uploaded(project, first, b"x"))
    refused = declare(project, second, b"y")
    assert isinstance(refused, Refused)
    assert refused.code == "taken"


def test_the_attempts_uploads_are_apart_from_the_persons(store_folder: Path) -> None:
    project = factories.project()
    row = attempt(project, factories.site())
    other = attempt(project, row.site, number=1)
    data = content(10)
    made = {declared(project, "f", data, a).pk for a in (None, row, other)}
    assert len(made) == 3
    assert declared(project, "f", data, row).pk in made


def test_one_batch_takes_few_statements(
    store_folder: Path, django_assert_max_num_queries: object
) -> None:
    project = factories.project()
    row = attempt(project, factories.site())
    wanted = [uploads.Declaration(project, f"d/{n}", blocks(b"%d" % n), row.pk) for n in range(200)]
    with django_assert_max_num_queries(15):  # type: ignore[operator]
        made = uploads.declare(wanted)
        uploads.standings([u for u in made if isinstance(u, Upload)])
    assert pieces(b"") == []
