"""Which files belong to a task or an array, and their names here."""

from __future__ import annotations

import pytest

from ayni.client.errors import AyniError
from ayni.client.models import Output, StoredFile
from ayni.client.outputs import folders, of_array, of_task


def test_a_tasks_outputs_are_named_as_in_its_work_folder() -> None:
    outputs = [
        Output(path="/work/r/a.txt", url="ayni://langs/results/x/r/a.txt", size=3),
        Output(path="/data/b", url="ayni://langs/b"),
        Output(path="/work/c", url="s3://elsewhere/c"),
        Output(path="/work/d", url="ayni://other/d"),
    ]
    found = [(f.path, f.name) for f in of_task(outputs, "langs")]
    assert found == [("results/x/r/a.txt", "r/a.txt"), ("b", "data/b")]


@pytest.mark.parametrize(
    "path", ["/../../etc/passwd", "/work/../../x", "/work/a\x1bb", "/", "/work/"]
)
def test_an_outputs_name_never_leaves_its_folder(path: str) -> None:
    output = Output(path=path, url="ayni://langs/x")
    try:
        [found] = of_task([output], "langs")
    except AyniError:
        return
    assert not found.name.startswith(("/", ".."))
    assert ".." not in found.name.split("/")


def test_an_arrays_outputs_are_found_by_its_template() -> None:
    stored = ["results/x/0/r/a", "results/x/1/r/a", "results/x/10/r/deep/b", "results/x/0/other"]
    template = {"outputs": [{"url": "ayni://langs/results/x/{{index}}/r", "path": "/work/r"}]}
    asked: list[str] = []

    def ls(prefix: str) -> list[StoredFile]:
        asked.append(prefix)
        return [StoredFile(path=p) for p in stored if p.startswith(prefix)]

    names = [f.name for f in of_array(template, ls, "langs")]
    assert names == ["0/r/a", "1/r/a", "10/r/deep/b"]
    assert asked == ["results/x/"]


def test_one_level_of_a_listing_names_each_folder_once() -> None:
    files = [StoredFile(path=p) for p in ("d/a", "d/e/b", "d/e/c", "d/f/g")]
    shown = [f if isinstance(f, str) else f.path for f in folders(files, "d/")]
    assert shown == ["d/a", "d/e/", "d/f/"]
