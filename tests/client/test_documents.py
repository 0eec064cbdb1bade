"""Task documents and parameter tables from files."""

from __future__ import annotations

import pytest

from ayni.client.documents import read_parameters, read_task
from ayni.client.errors import InvalidTask

GOOD = '{"executors": [{"image": "alpine", "command": ["true"]}]}'


@pytest.mark.parametrize(
    ("name", "text"),
    [("t.json", GOOD), ("t.yaml", "executors:\n- image: alpine\n  command: ['true']\n")],
)
def test_a_task_is_read_from_json_and_yaml(name: str, text: str) -> None:
    assert read_task(text, name).executors[0].command == ["true"]


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("t.json", "{", "is no JSON"),
        ("t.json", "[" * 100_000, "is no JSON"),
        ("t.yaml", "a: [", "line 1: is no YAML"),
        ("t.yaml", "!!python/object/apply:os.system ['true']", "is no YAML"),
        ("t.yaml", "- 1", "not a list"),
        ("t.yaml", "", "not nothing"),
        ("t.json", '{"executors": []}', "executors"),
        ("t.json", '{"executors": [{"image": "a", "comand": ["x"]}]}', "executors.0.command"),
        ("t.json", GOOD[:-1] + ', "resorces": {}}', "resorces: there is no such field"),
        (
            "t.json",
            GOOD[:-1]
            + ', "resources": {"backend_parameters": {"walltime": "soon"}}}',
            "backend_parameters.walltime",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_document_is_said_with_its_file_and_field(
    name: str, text: str, says: str
) -> None:
    with pytest.raises(InvalidTask) as caught:
        read_task(text, name)
    message = str(caught.value)
    assert message.startswith(name)
    assert says in message


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("p.csv", "city,n\nLima,1\nQuito,2\n"),
        ("p.tsv", "city\tn\nLima\t1\nQuito\t2\n"),
        ("p.jsonl", '{"city": "Lima", "n": 1}\n\n{"city": "Quito", "n": 2}\n'),
        ("p.json", '[{"city": "Lima", "n": 1}, {"city": "Quito", "n": "2"}]'),
    ],
)
def test_parameters_are_texts_wherever_they_come_from(name: str, text: str) -> None:
    rows = [{"city": "Lima", "n": "1"}, {"city": "Quito", "n": "2"}]
    assert read_parameters(text, name) == rows


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("p.csv", "", "no row"),
        ("p.csv", "a,b\n", "no row"),
        ("p.csv", "a,a\n1,2\n", "same name"),
        ("p.csv", "a,b\n1\n", "row 2 has 1 cells, not 2"),
        ("p.jsonl", "[1]", "not an object"),
        ("p.jsonl", '{"a": [1]}', "row 1, a"),
        ("p.json", "{}", "a list of objects"),
        ("p.xls", "", ".csv"),
    ],
)
def test_a_bad_table_is_refused_with_its_row(name: str, text: str, says: str) -> None:
    with pytest.raises(InvalidTask, match=says.replace("[", r"\[")):
        read_parameters(text, name)
