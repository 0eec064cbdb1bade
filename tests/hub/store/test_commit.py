"""Committing outputs and logs of attempts."""

from __future__ import annotations

import json
import threading
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import connections
from django.utils import timezone

from ayni.hub.store import commit, quota
from ayni.hub.store.commit import commit_outputs
from ayni.hub.store.declaration import Refused
from ayni.hub.store.models import File, Upload
from ayni.hub.tasks import ids
from ayni.hub.tasks.models import Attempt
from ayni.protocol.messages import LogReport
from tests.hub import factories
from tests.hub.store.support import attempt, content, declared, output, read, uploaded


@pytest.fixture
def row(store_folder: Path) -> Attempt:
    return attempt(factories.project(), factories.site())


def test_outputs_are_committed(row: Attempt) -> None:
    project = row.task.project
    made = [uploaded(project, f"out/{n}", content(50, n), row) for n in range(3)]
    assert commit_outputs({row.pk: [output(u) for u in made]}) == {}
    assert [read(project, f"out/{n}") for n in range(3)] == [content(50, n) for n in range(3)]


def test_committing_again_changes_nothing(row: Attempt) -> None:
    upload = uploaded(row.task.project, "f", content(9), row)
    for _ in range(2):
        assert commit_outputs({row.pk: [output(upload)]}) == {}
    assert read(row.task.project, "f") == content(9)
    assert quota.used(row.task.project) == 9


def test_an_output_replaces_what_was_there_and_the_old_bytes_stay_for_readers(
    row: Attempt,
) -> None:
    project = row.task.project
    old = uploaded(project, "f", content(500, 1))
    commit.commit(old)
    new = uploaded(project, "f", content(20, 2), row)
    commit_outputs({row.pk: [output(new)]})
    assert read(project, "f") == content(20, 2)
    old.refresh_from_db()
    assert old.dead
    assert old.expires is not None
    assert old.expires > timezone.now()
    assert quota.used(project) == 20


def test_an_output_at_a_foreign_url_is_taken_only_if_the_task_declares_it(row: Attempt) -> None:
    row.task.body.document = json.dumps(
        {
            "executors": [{}],
            "outputs": [{"url": "https://example.org/x", "path": "/d", "type": "DIRECTORY"}],
        }
    )
    row.task.body.save()
    sent = output(uploaded(row.task.project, "f", b"x", row)).model_copy(update={"upload": None})
    for url in ("https://example.org/x", "https://example.org/x/inner/y"):
        foreign = sent.model_copy(update={"url": url})
        assert commit_outputs({row.pk: [foreign]}) == {}
    for url in ("https://example.org/xy", "https://example.com/x", "javascript:alert(1)"):
        assert "no output of the task" in refused(row, sent.model_copy(update={"url": url}))
    assert "not sent" in refused(row, sent)
    assert not File.objects.exists()


def test_logs_become_files_that_expire(row: Attempt) -> None:
    project = row.task.project
    path = f".ayni/logs/{ids.show(row.task_id)}/0.stdout"
    upload = uploaded(project, path, content(70_000), row)
    log = LogReport(command=0, stream="stdout", size=70_000, tail="", upload=upload.pk)
    assert commit_outputs({row.pk: [log]}) == {}
    file = File.objects.get(project=project, path=path)
    assert file.expires is not None
    kept = file.expires - timezone.now()
    assert timedelta(days=project.retention - 1) < kept <= timedelta(days=project.retention)


def refused(row: Attempt, *outputs: object) -> str:
    errors = commit_outputs({row.pk: list(outputs)})  # type: ignore[list-item]
    assert list(errors) == [row.pk]
    assert not File.objects.filter(project=row.task.project).exists()
    return errors[row.pk]


def test_another_attempts_upload_is_refused(row: Attempt) -> None:
    other = attempt(row.task.project, row.site)
    assert "no such upload" in refused(row, output(uploaded(row.task.project, "f", b"x", other)))


def test_another_projects_upload_is_refused(row: Attempt) -> None:
    theirs = factories.project()
    upload = uploaded(theirs, "f", b"x", attempt(theirs, row.site))
    assert "no such upload" in refused(row, output(upload))
    mine = f"ayni://{row.task.project.name}/f"
    assert "no such upload" in refused(row, output(upload, url=mine))
    assert not File.objects.exists()


def test_a_persons_upload_is_refused(row: Attempt) -> None:
    assert "no such upload" in refused(row, output(uploaded(row.task.project, "f", b"x")))


def test_an_upload_that_there_is_not_is_refused(row: Attempt) -> None:
    real = uploaded(row.task.project, "f", b"x", row)
    for name in ("0" * 32, "x\0", "\ud800", "' OR 1=1", "x" * 9999):
        assert "no such upload" in refused(row, output(real, upload=name))
    assert "no such upload" in refused(row, output(real, upload="x", url="\0\ud800"))


def test_an_upload_that_is_not_whole_is_refused(row: Attempt) -> None:
    upload = declared(row.task.project, "f", content(100), row)
    assert "not all in the store" in refused(row, output(upload))


@pytest.mark.parametrize(
    "lie", [{"size": 2}, {"sha256": "0" * 64}, {"url": "ayni://other/f"}, {"url": "nonsense"}]
)
def test_a_report_that_differs_from_the_upload_is_refused(
    row: Attempt, lie: dict[str, object]
) -> None:
    assert refused(row, output(uploaded(row.task.project, "f", b"x", row), **lie))


def test_a_log_in_an_outputs_place_is_refused(row: Attempt) -> None:
    upload = uploaded(row.task.project, "f", b"x", row)
    log = LogReport(command=0, stream="stdout", size=1, tail="", upload=upload.pk)
    assert "another file" in refused(row, log)


def test_an_attempt_that_was_given_up_commits_nothing(row: Attempt) -> None:
    upload = uploaded(row.task.project, "f", b"x", row)
    Attempt.objects.filter(pk=row.pk).update(superseded=True)
    assert "given up" in refused(row, output(upload))


def test_all_of_an_attempt_is_committed_or_nothing(row: Attempt) -> None:
    good = uploaded(row.task.project, "good", b"x", row)
    bad = declared(row.task.project, "bad", content(100), row)
    refused(row, output(good), output(bad))


def test_one_attempts_fault_does_not_touch_the_others(row: Attempt) -> None:
    project = row.task.project
    other = attempt(project, row.site)
    good = uploaded(project, "good", b"x", other)
    bad = declared(project, "bad", content(100), row)
    errors = commit_outputs({row.pk: [output(bad)], other.pk: [output(good)]})
    assert list(errors) == [row.pk]
    assert read(project, "good") == b"x"


def test_of_two_attempts_in_each_others_way_the_first_wins(row: Attempt) -> None:
    project = row.task.project
    other = attempt(project, row.site)
    first = uploaded(project, "a", b"1", row)
    second = uploaded(project, "a/b", b"2", other)
    errors = commit_outputs({row.pk: [output(first)], other.pk: [output(second)]})
    assert list(errors) == [other.pk]
    assert read(project, "a") == b"1"


def test_a_file_that_came_meanwhile_stands_in_the_way(row: Attempt) -> None:
    project = row.task.project
    upload = uploaded(project, "a/b", b"1", row)
    commit.commit(uploaded(project, "a", b"2"))
    errors = commit_outputs({row.pk: [output(upload)]})
    assert "a is a file" in errors[row.pk]
    assert read(project, "a") == b"2"


def test_two_outputs_to_one_path_end_with_the_later_one(row: Attempt) -> None:
    project = row.task.project
    one, two = uploaded(project, "f", b"one", row), uploaded(project, "f", b"two!", row)
    assert commit_outputs({row.pk: [output(one), output(two)]}) == {}
    assert read(project, "f") == b"two!"
    assert quota.used(project) == 4


def test_a_batch_takes_few_statements(row: Attempt, django_assert_max_num_queries: object) -> None:
    project = row.task.project
    upload = uploaded(project, "x", b"x", row)
    batch = {}
    for n in range(100):
        a = attempt(project, row.site)
        copy = Upload.objects.create(
            id=f"{n:032x}",
            project=project,
            path=f"d/{n}",
            attempt=a,
            size=1,
            sha256=upload.sha256,
            block_size=upload.block_size,
            blocks=upload.blocks,
            verified=True,
            expires=timezone.now(),
        )
        batch[a.pk] = [output(copy)]
    with django_assert_max_num_queries(15):  # type: ignore[operator]
        assert commit_outputs(batch) == {}
    assert File.objects.filter(project=project).count() == 100


@pytest.mark.django_db(transaction=True)
def test_commits_to_one_path_at_once_leave_one_whole_file(store_folder: Path) -> None:
    project = factories.project()
    versions = [content(100 + n, n) for n in range(6)]
    made = [uploaded(project, "f", data) for data in versions]
    start = threading.Barrier(len(made))

    def run(upload: Upload) -> None:
        start.wait()
        try:
            commit.commit(upload)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=(upload,)) for upload in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    last = read(project, "f")
    assert last in versions
    assert quota.used(project) == len(last)
    assert Upload.objects.filter(project=project, dead=False).count() == 1


def test_a_dead_upload_cannot_be_committed(store_folder: Path) -> None:
    project = factories.project()
    old = uploaded(project, "f", b"old")
    commit.commit(old)
    commit.commit(uploaded(project, "f", b"new"))
    with pytest.raises(Refused, match="declare it again"):
        commit.commit(old)
    assert read(project, "f") == b"new"
