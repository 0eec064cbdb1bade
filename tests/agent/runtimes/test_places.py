"""Where a path of a task is on the host."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ayni.agent.executors.base import Bind, Command, Job
from ayni.agent.runtimes.base import PlanError, absolute, place

FOLDER = Path("/site/jobs/1")
PARTS = st.lists(st.sampled_from(["a", "b", ".", "..", "", "ñ", " "]), max_size=6)


def job(*binds: Bind) -> Job:
    return Job("j", FOLDER, (Command(("true",)),), "host", binds=binds)


@given(PARTS)
def test_a_place_is_always_beneath_the_jobs_folder(parts):
    path = "/" + "/".join(parts)
    try:
        base, relative, _ = place(job(), path, "stdin", write=False)
    except PlanError:
        assert ".." in parts
    else:
        assert base == str(FOLDER / "root")
        assert ".." not in PurePosixPath(relative).parts
        assert not relative.startswith("/")


@given(PARTS)
def test_an_absolute_path_is_made_normal_once(parts):
    try:
        path = absolute("/" + "/".join(parts), "workdir")
    except PlanError:
        return
    assert absolute(path, "workdir") == path
    assert path == "/" or not path.endswith("/")


def test_a_path_in_a_bind_is_where_the_bind_comes_from():
    found = place(job(Bind(Path("/sets/one"), "/data")), "/data/x/y", "stdin", write=False)
    assert found == ("/sets/one", "x/y", "/data/x/y")


def test_the_innermost_bind_counts():
    binds = (Bind(Path("/outer"), "/data"), Bind(Path("/inner"), "/data/deep/"))
    assert place(job(*binds), "/data/deep/x", "stdin", write=False)[:2] == ("/inner", "x")


def test_a_bind_of_one_file_is_that_file():
    found = place(job(Bind(Path("/sets/f.csv"), "/in/f")), "/in/f", "stdin", write=False)
    assert found == ("/sets", "f.csv", "/in/f")


def test_a_folder_whose_name_begins_alike_is_another():
    found = place(job(Bind(Path("/sets"), "/data")), "/database/x", "stdin", write=False)
    assert found[0] == str(FOLDER / "root")


def test_nothing_is_written_to_a_read_only_bind():
    with pytest.raises(PlanError, match="read-only"):
        place(job(Bind(Path("/sets"), "/data")), "/data/x", "stdout", write=True)
    writable = job(Bind(Path("/sets"), "/data", writable=True))
    assert place(writable, "/data/x", "stdout", write=True)[0] == "/sets"
