"""From options to a TES document: whatever is said, the document is valid and means the same."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ayni.client.build import Options, build, build_array, words
from ayni.client.draft import draft
from ayni.client.errors import InvalidTask
from ayni.client.specs import InputSpec, OutputSpec, parse_input, parse_output
from ayni.tes.models import FileType, Task, document
from ayni.tes.shape import shape_of

RESULTS = "ayni://langs/results/run-1"


def _built(**options: Any) -> Task:
    options.setdefault("command", ("true",))
    return build(Options(**options), results=RESULTS)


def test_a_bare_command_runs_in_the_work_folder_of_the_sites_own_system() -> None:
    [executor] = _built(command=("sort", "a b")).executors
    assert (executor.image, executor.workdir, executor.command) == (
        "host",
        "/work",
        ["sort", "a b"],
    )


def test_one_quoted_argument_is_a_line_for_the_shell_and_several_are_words() -> None:
    assert words(["sort a | uniq > b"]) == ("sh", "-c", "sort a | uniq > b")
    assert words(["sort", "a;b"]) == ("sort", "a;b")
    assert words(["true"]) == ("true",)


@pytest.mark.parametrize("memory", [1, 1 << 30, 8 << 30, 123_456_789, 3 * 10**12 + 7])
def test_memory_arrives_to_the_byte_through_the_standards_gigabytes(memory: int) -> None:
    assert shape_of(_built(memory=memory)).memory == memory


def test_what_the_standard_has_no_field_for_goes_to_strict_backend_parameters() -> None:
    task = _built(walltime=90, gpus=2, site="chile", network=True, zones=("CL",))
    assert task.resources is not None
    assert task.resources.backend_parameters_strict
    shape = shape_of(task)
    assert (shape.walltime, shape.gpus, shape.site, shape.network, shape.zones) == (
        90, 2, "chile", True, ("CL",),
    )  # fmt: skip


def test_options_go_before_what_a_document_says_and_leave_the_rest() -> None:
    base = Task.model_validate(
        {
            "name": "old",
            "executors": [{"image": "alpine", "command": ["x"], "env": {"A": "1", "B": "2"}}],
            "resources": {"cpu_cores": 2, "backend_parameters": {"gpus": "1", "walltime": "60"}},
            "tags": {"a": "1"},
        }
    )
    options = Options(cores=8, gpus=4, env={"B": "3"}, tags={"b": "2"})
    task = build(options, results=RESULTS, base=base)
    assert task.name == "old"
    assert task.executors[0].image == "alpine"
    assert task.executors[0].env == {"A": "1", "B": "3"}
    assert task.tags == {"a": "1", "b": "2"}
    shape = shape_of(task)
    assert (shape.cores, shape.gpus, shape.walltime) == (8, 4, 60)


def test_a_documents_own_state_and_logs_are_not_sent_again() -> None:
    base = Task.model_validate(
        {"id": "x", "state": "COMPLETE", "executors": [{"image": "i", "command": ["c"]}]}
    )
    task = build(Options(), results=RESULTS, base=base)
    assert (task.id, task.state) == (None, None)


# --- inputs and outputs --------------------------------------------------------------------------


HERE = ("a.csv", "data/a.csv", "/abs/b.csv", "dir", "..")


def _input(text: str) -> InputSpec:
    return parse_input(
        text, workdir="/work", exists=lambda p: p in HERE, is_folder=lambda p: p == "dir"
    )


@pytest.mark.parametrize(
    ("text", "source", "path"),
    [
        ("a.csv", "a.csv", "/work/a.csv"),
        ("data/a.csv", "data/a.csv", "/work/data/a.csv"),
        ("/abs/b.csv", "/abs/b.csv", "/work/b.csv"),
        ("a.csv:/data/x", "a.csv", "/data/x"),
        ("a.csv:x/y", "a.csv", "/work/x/y"),
        ("a.csv:/data/", "a.csv", "/data/a.csv"),
        ("dir", "dir", "/work/dir"),
        ("ayni://langs/d/f.txt", "ayni://langs/d/f.txt", "/work/f.txt"),
        ("ayni://langs/d/f.txt:/in/f", "ayni://langs/d/f.txt", "/in/f"),
        ("ayni://chile/census/2024/", "ayni://chile/census/2024/", "/work/2024"),
        ("https://h:8080/x.gz?y=1:2", "https://h:8080/x.gz?y=1:2", "/work/x.gz"),
        ("https://h:8080/x.gz:/in/x.gz", "https://h:8080/x.gz", "/in/x.gz"),
    ],
)
def test_an_input_lies_where_its_relative_name_says(text: str, source: str, path: str) -> None:
    spec = _input(text)
    assert (spec.source, spec.path) == (source, path)


@pytest.mark.parametrize(
    "text", ["nowhere.csv", "a.csv:../up", "..", "ayni://BAD/x", "ayni://p/../x", "", ":", "\0"]
)
def test_an_input_that_cannot_be_is_refused_in_words(text: str) -> None:
    with pytest.raises(InvalidTask, match=r"input|project|path"):
        _input(text)


@pytest.mark.parametrize(
    ("text", "path", "url", "type_", "prefix"),
    [
        ("r.csv", "/work/r.csv", f"{RESULTS}/r.csv", FileType.FILE, None),
        ("r/", "/work/r", f"{RESULTS}/r", FileType.DIRECTORY, None),
        ("/out/r.csv", "/out/r.csv", f"{RESULTS}/out/r.csv", FileType.FILE, None),
        (".", "/work", RESULTS, FileType.DIRECTORY, None),
        ("p/*.png", "/work/p/*.png", RESULTS, FileType.FILE, "/work"),
        ("p/*.png:ayni://q/f", "/work/p/*.png", "ayni://q/f", FileType.FILE, "/work/p"),
        ("r.csv:s3://b/k", "/work/r.csv", "s3://b/k", FileType.FILE, None),
    ],
)
def test_an_output_is_kept_under_its_name_in_the_work_folder(
    text: str, path: str, url: str, type_: FileType, prefix: str | None
) -> None:
    [output] = _built(outputs=(parse_output(text, workdir="/work"),)).outputs or ()
    assert (output.path, output.url, output.type, output.path_prefix) == (path, url, type_, prefix)


def test_two_inputs_at_one_path_are_a_mistake() -> None:
    specs = (_input("a.csv"), _input("ayni://langs/a.csv"))
    with pytest.raises(InvalidTask, match=r"two would lie at /work/a\.csv"):
        _built(inputs=specs)


def test_each_task_of_an_array_has_a_folder_of_its_own_for_results() -> None:
    options = Options(command=("true",), outputs=(OutputSpec("/work/r", None, False),))
    task = build(options, results=RESULTS, array=True)
    assert task.outputs is not None
    assert task.outputs[0].url == RESULTS + "/{{index}}/r"
    assert build_array(task, 3, None).size == 3


def test_an_array_whose_tasks_would_overwrite_each_other_is_refused() -> None:
    with pytest.raises(InvalidTask, match="every task of the array would write"):
        draft("true", count=2, outputs=["r.csv:ayni://langs/r.csv"])


def test_a_parameter_that_the_table_lacks_is_named() -> None:
    with pytest.raises(InvalidTask, match="lacks \\['city'\\]"):
        draft(["plot", "{{city}}"], parameters=[{"town": "x"}])


# --- whatever is said ----------------------------------------------------------------------------

TEXT = st.text(max_size=20)
SAFE = st.sampled_from(["host", "chile", "fit-1"])
NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True)
PATHS = st.text("abc/.*[ ?-é{}", min_size=1, max_size=12)
OPTIONS: dict[str, st.SearchStrategy[Any]] = {
    "name": SAFE | TEXT,
    "image": SAFE | TEXT,
    "cores": st.integers(1, 64) | st.integers(-1, 1 << 40),
    "mem": st.one_of(st.integers(-1, 1 << 60), st.sampled_from(["8G", "512MiB", "1.5T", "x", ""])),
    "time": st.one_of(st.integers(-1, 1 << 40), st.sampled_from(["1h30m", "2d", "01:00", "soon"])),
    "gpus": st.integers(-1, 10),
    "site": SAFE | TEXT,
    "zones": st.lists(TEXT, max_size=3),
    "network": st.booleans(),
    "restartable": st.booleans(),
    "max_attempts": st.integers(-1, 30),
    "inputs": st.lists(
        st.builds("ayni://{}/{}:/{}".format, st.sampled_from(["p", "chile"]), PATHS, PATHS),
        max_size=3,
    ),
    "outputs": st.lists(PATHS, max_size=3),
    "env": st.dictionaries(NAMES | TEXT, TEXT, max_size=3),
    "tags": st.dictionaries(TEXT, TEXT, max_size=3),
}


@settings(max_examples=300, deadline=None)
@given(
    command=st.one_of(st.lists(TEXT, min_size=1, max_size=4), st.text(min_size=1)),
    wishes=st.fixed_dictionaries({}, optional=OPTIONS),
    count=st.none() | st.integers(1, 5),
)
def test_any_options_make_a_valid_task_or_a_refusal_in_one_line(
    command: Any, wishes: dict[str, Any], count: int | None
) -> None:
    try:
        made = draft(command, count=count, **wishes)
    except InvalidTask as error:
        assert str(error)
        return
    task = made.task(RESULTS)
    assert Task.model_validate(document(task)) == task
    shape = shape_of(task)
    assert shape.cores == wishes.get("cores", 1)
    assert shape.network == wishes.get("network", False)
    assert len(task.outputs or ()) == len(wishes.get("outputs", ()))
    paths = [one.path for one in task.inputs or ()]
    assert all(p.startswith("/") and ".." not in p.split("/") for p in paths)
    assert len(set(paths)) == len(paths)
