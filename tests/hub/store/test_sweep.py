from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone

from ayni.hub.store import commit, files, keys, quota
from ayni.hub.store.models import File, Upload
from ayni.hub.store.sweep import Swept, _Walk, sweep
from ayni.hub.tasks.models import Attempt
from tests.hub import factories
from tests.hub.store.support import attempt, content, declared, read, uploaded


@pytest.fixture(autouse=True)
def _from_the_beginning(store_folder: Path) -> None:
    _Walk.after = ""
    sweep(timezone.now())  # what other tests left in the folder


def later(**delta: float) -> Swept:
    return sweep(timezone.now() + timedelta(**delta))


def test_nothing_is_swept_of_what_is_in_use() -> None:
    project = factories.project()
    commit.commit(uploaded(project, "kept", b"kept"))
    half = declared(project, "half", content(100))
    swept = sweep(timezone.now())
    assert swept == Swept()
    assert read(project, "kept") == b"kept"
    assert Upload.objects.filter(pk=half.pk, dead=False).exists()


def test_replaced_bytes_go_after_a_grace(store_folder: Path) -> None:
    project = factories.project()
    old = uploaded(project, "f", b"old")
    commit.commit(old)
    commit.commit(uploaded(project, "f", b"new"))
    folder = keys.folder_of(store_folder, keys.prefix(project.pk, old.pk))
    assert later(minutes=1).removed == 0
    assert folder.exists()
    assert later(hours=3).removed == 1
    assert not folder.exists()
    assert not Upload.objects.filter(pk=old.pk).exists()
    assert read(project, "f") == b"new"


def test_an_upload_that_nobody_goes_on_with_gives_its_room_back() -> None:
    project = factories.project()
    upload = declared(project, "f", content(100))
    assert later(hours=23).abandoned == 0
    assert later(hours=25).abandoned == 1
    assert quota.used(project) == 0
    upload.refresh_from_db()
    assert upload.dead
    assert later(hours=28).removed == 1


def test_a_live_attempts_upload_waits_for_its_site() -> None:
    row = attempt(factories.project(), factories.site())
    declared(row.task.project, "f", content(100), row)
    assert later(days=30).abandoned == 0
    Attempt.objects.filter(pk=row.pk).update(live=False)
    assert later(days=30).abandoned == 1


def test_expired_files_go() -> None:
    project = factories.project()
    commit.commit(uploaded(project, "log", b"log"))
    commit.commit(uploaded(project, "kept", b"kept"))
    File.objects.filter(path="log").update(expires=timezone.now() + timedelta(days=1))
    assert later(hours=1).files == 0
    assert later(days=2).files == 1
    assert read(project, "log") is None
    assert read(project, "kept") == b"kept"
    assert quota.used(project) == 4


def test_bytes_that_the_database_does_not_know_go(store_folder: Path) -> None:
    project = factories.project()
    kept = uploaded(project, "f", b"kept")
    commit.commit(kept)
    lost = uploaded(project, "g", b"lost")
    Upload.objects.filter(pk=lost.pk).delete()
    assert sweep(timezone.now()).orphans == 1
    assert not keys.folder_of(store_folder, keys.prefix(project.pk, lost.pk)).exists()
    assert read(project, "f") == b"kept"


def test_a_deleted_project_leaves_nothing(store_folder: Path) -> None:
    project = factories.project()
    commit.commit(uploaded(project, "f", b"x"))
    number = project.pk
    project.delete()
    sweep(timezone.now())
    assert not list((store_folder / str(number)).rglob("0"))


def test_what_is_nothing_of_the_hubs_is_left_alone(store_folder: Path) -> None:
    strange = store_folder / "1" / "zz" / "notes"
    strange.mkdir(parents=True)
    assert sweep(timezone.now()).orphans == 0, "not told as removed either"
    assert strange.exists()
    strange.rmdir()


def test_a_sweep_stops_at_its_limit_and_goes_on() -> None:
    project = factories.project()
    for n in range(5):
        declared(project, f"f{n}", content(10, n))
    when = timezone.now() + timedelta(days=2)
    assert [sweep(when, limit=2).abandoned for _ in range(4)] == [2, 2, 1, 0]


def test_a_sweep_that_was_cut_short_is_repeated(store_folder: Path) -> None:
    """Killed after the bytes went and before the row did."""
    project = factories.project()
    commit.commit(uploaded(project, "f", b"old"))
    upload = Upload.objects.get()
    files.delete(project, File.objects.filter(project=project))
    prefix = keys.folder_of(store_folder, keys.prefix(project.pk, upload.pk))
    (prefix / "0").unlink()
    prefix.rmdir()
    assert later(hours=3).removed == 1
    assert not Upload.objects.exists()
