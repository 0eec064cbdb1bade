"""Whatever happens in between, a file is exactly the bytes that were committed last."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from ayni.hub.store import commit, files, paths, quota, uploads
from ayni.hub.store.commit import commit_outputs
from ayni.hub.store.declaration import Refused
from ayni.hub.store.models import File, Upload
from ayni.hub.store.sweep import sweep
from ayni.hub.tasks.models import Attempt
from tests.hub import factories
from tests.hub.store.server import WEB
from tests.hub.store.support import (
    BLOCK,
    attempt,
    content,
    declare,
    output,
    pieces,
    read,
    sha,
)

PATHS = st.sampled_from(["a", "a/b", "a/b/c", "d"])
SEEDS = st.integers(0, 2)
SIZES = st.sampled_from([0, 1, BLOCK - 1, BLOCK, 2 * BLOCK + 7])
WHO = st.sampled_from(["person", "first", "second"])


class Store(RuleBasedStateMachine):
    """A person and two attempts write to one project, crash, go on, lie, and are swept."""

    def __init__(self) -> None:
        super().__init__()
        self.committed: dict[str, bytes] = {}
        self.open: dict[tuple[str, str, int, int], str] = {}

    @initialize()
    def begin(self) -> None:
        self.project = factories.project(quota=12 * BLOCK)
        site = factories.site()
        self.rows: dict[str, Attempt | None] = {
            "person": None,
            "first": attempt(self.project, site),
            "second": attempt(self.project, site),
        }

    @rule(who=WHO, path=PATHS, seed=SEEDS, size=SIZES)
    def declare(self, who: str, path: str, seed: int, size: int) -> None:
        outcome = declare(self.project, path, content(size, seed), self.rows[who])
        if isinstance(outcome, Refused):
            assert outcome.code in ("quota", "taken")
        else:
            self.open[who, path, seed, size] = outcome.pk

    def _pick(self, data: st.DataObject) -> tuple[str, bytes, Upload] | None:
        if not self.open:
            return None
        who, path, seed, size = data.draw(st.sampled_from(sorted(self.open)))
        upload = Upload.objects.filter(pk=self.open[who, path, seed, size]).first()
        return (who, content(size, seed), upload) if upload else None

    @rule(data=st.data(), count=st.integers(0, 3), lie=st.booleans())
    def put(self, data: st.DataObject, count: int, lie: bool) -> None:
        """Some blocks arrive (then the sender crashes), or wrong bytes do."""
        picked = self._pick(data)
        if picked is None or picked[2].dead:
            return
        _, right, upload = picked
        [standing] = uploads.standings([upload])
        for n, url in standing.missing[:count]:
            piece = pieces(right)[n]
            if lie:
                assert WEB.put(url, content=content(len(piece), 99)).status_code == 422
            else:
                assert WEB.put(url, content=piece).status_code in (200, 201)

    @rule(data=st.data())
    def commit(self, data: st.DataObject) -> None:
        picked = self._pick(data)
        if picked is None:
            return
        who, right, upload = picked
        whole = not upload.dead and uploads.standings([upload])[0].ready
        row = self.rows[who]
        if row is None:
            try:
                commit.commit(upload)
            except Refused:
                return
        elif commit_outputs({row.pk: [output(upload)]}):
            return
        assert whole, "only what is whole and alive can be committed"
        self.committed[upload.path] = right

    @rule(path=PATHS)
    def delete(self, path: str) -> None:
        deleted = files.delete(self.project, File.objects.filter(project=self.project, path=path))
        assert deleted == (path in self.committed)
        self.committed.pop(path, None)

    @rule(hours=st.sampled_from([0, 1, 3, 30]))
    def sweep(self, hours: int) -> None:
        sweep(timezone.now() + timedelta(hours=hours))

    @invariant()
    def every_file_is_what_was_committed_last(self) -> None:
        if not hasattr(self, "project"):
            return
        stored = File.objects.filter(project=self.project)
        assert set(stored.values_list("path", flat=True)) == set(self.committed)
        for path, right in self.committed.items():
            assert sha(read(self.project, path) or b"") == sha(right)

    @invariant()
    def the_books_are_right_and_within_the_quota(self) -> None:
        if not hasattr(self, "project"):
            return
        used = quota.used(self.project)
        assert used == quota.recount(self.project)
        assert used <= self.project.quota

    @invariant()
    def no_file_is_a_folder(self) -> None:
        for path in self.committed:
            assert not set(paths.above(path)) & set(self.committed)


@pytest.mark.usefixtures("store_folder")
def test_a_file_is_the_bytes_committed_last() -> None:
    from django.db import transaction

    class InTransaction(Store):
        """Each example is undone, as pytest-django undoes each test."""

        def __init__(self) -> None:
            super().__init__()
            self.atomic = transaction.atomic()
            self.atomic.__enter__()

        def teardown(self) -> None:
            transaction.set_rollback(True)
            self.atomic.__exit__(None, None, None)

    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        InTransaction,
        settings=settings(
            max_examples=15,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
