from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ayni.hub.http import ProblemError
from ayni.hub.store import paths
from ayni.hub.store.models import File
from tests.hub import factories
from tests.hub.store.support import declared

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


@given(TEXT.filter(bool), TEXT)
def test_the_end_of_a_prefix_is_behind_all_that_begin_with_it(prefix: str, rest: str) -> None:
    end = paths.after(prefix)
    assert end is None or prefix + rest < end
    # … and in the order of bytes, as databases compare
    assert end is None or (prefix + rest).encode() < end.encode()


@given(TEXT.filter(bool), TEXT)
def test_the_end_of_a_prefix_is_before_all_others(prefix: str, other: str) -> None:
    end = paths.after(prefix)
    if end is not None and other > prefix and not other.startswith(prefix):
        assert other >= end


@pytest.mark.parametrize(
    "path", ["", "/", "a/", "../a", "a/../b", "a/./b", "a\0b", "a\nb", "a\\b", "x" * 1025, "\ud800"]
)
def test_bad_names_are_refused_naming_the_field(path: str) -> None:
    with pytest.raises(ProblemError) as caught:
        paths.writable("path", path)
    assert caught.value.status == 400
    assert caught.value.detail.startswith("path: ")


@pytest.mark.parametrize("path", [".ayni", ".ayni/logs/x", "/.ayni//x"])
def test_the_systems_folder_is_not_written_to(path: str) -> None:
    with pytest.raises(ProblemError):
        paths.writable("path", path)


@pytest.mark.parametrize("path", [".ayni2/x", "a/.ayni/x", "ñandú/ação", "a b/c d"])
def test_other_names_are_fine(path: str) -> None:
    assert paths.writable("path", path) == path


def test_clashes_are_found_above_and_beneath(db: None) -> None:
    one, two = factories.project(), factories.project()

    def file(project, path):  # type: ignore[no-untyped-def]
        upload = declared(project, path, b"x")
        File.objects.create(
            project=project, path=path, upload=upload, size=1, modified=upload.created
        )

    file(one, "a/b")
    file(one, "c-d")
    file(two, "e")
    wanted = [(one.pk, p) for p in ("a", "a/b", "a/b/c", "a/bc", "c", "c/d", "e/f", "a0")]
    assert paths.clashes([*wanted, (two.pk, "e/f"), (two.pk, "a")]) == {
        (one.pk, "a"): "a/b",
        (one.pk, "a/b/c"): "a/b",
        (two.pk, "e/f"): "e",
    }
