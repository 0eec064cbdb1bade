"""Documents out of records."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ayni.lm.corpus import tables
from ayni.lm.corpus.documents import Unreadable
from ayni.lm.corpus.rules import Fields
from ayni.lm.corpus.tables import Record


def lines(*records: object, fields: Fields | None = None) -> list[tables.Numbered]:
    text = "\n".join(r if isinstance(r, str) else json.dumps(r) for r in records)
    return list(tables.json_lines(io.BytesIO(text.encode()), fields or Fields()))


def test_a_line_is_a_record_and_empty_lines_are_passed_over() -> None:
    found = lines({"text": "a", "language": "es", "group": 7}, "", {"text": "b"})
    assert found == [(1, Record("a", "es", "7")), (3, Record("b", None, None))]


def test_fields_have_the_names_that_the_rules_say_also_a_level_down() -> None:
    fields = Fields(text="body", language="meta.lang", group="doc.id")
    (found,) = lines({"body": "a", "meta": {"lang": "gn"}, "doc": {"id": "x"}}, fields=fields)
    assert found == (1, Record("a", "gn", "x"))


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (
            {"body": "a", "id": 1},
            "no field 'text' .there are: body, id.; name the text's with --rule",
        ),
        ({"text": 5}, "field 'text' is no text"),
        ({"text": None}, "no field 'text'"),
        ({"text": "a", "language": ["es"]}, "field 'language' is no text"),
        ({"text": "a", "group": {}}, "field 'group' is no text"),
        ("[1]", "not a JSON object"),
        ("{", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ("9" * 10_000, "no JSON"),
    ],
)
def test_a_broken_record_is_told_and_the_next_one_read(record: object, said: str) -> None:
    (one, broken), (two, good) = lines(record, {"text": "a"})
    assert (one, two, good) == (1, 2, Record("a", None, None))
    assert isinstance(broken, Unreadable)
    with pytest.raises(Unreadable, match=said):
        raise broken


@given(st.binary(max_size=200))
def test_any_bytes_are_records_or_told(data: bytes) -> None:
    for number, found in tables.json_lines(io.BytesIO(data), Fields()):
        assert number >= 1
        assert isinstance(found, Record | Unreadable)


def test_a_line_without_end_is_not_read_into_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "MAX_LINE", 100)
    with pytest.raises(Unreadable, match="line 2 is longer than 100 bytes"):
        lines({"text": "a"}, {"text": "b" * 200})


def parquet(path: Path, **columns: list[object]) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


def test_rows_of_parquet_are_records(tmp_path: Path) -> None:
    path = parquet(
        tmp_path / "a.parquet", text=["a", None, "b"], language=["es", "es", None], n=[1, 2, 3]
    )
    with path.open("rb") as file:
        (_, first), (_, none), (_, last) = tables.parquet(file, Fields())
    assert (first, last) == (Record("a", "es", None), Record("b", None, None))
    assert isinstance(none, Unreadable)


def test_a_parquet_file_without_the_column_is_told(tmp_path: Path) -> None:
    path = parquet(tmp_path / "a.parquet", body=["a"], lang=["es"])
    with (
        path.open("rb") as file,
        pytest.raises(Unreadable, match=r"no field 'text' \(there are: body, lang\)"),
    ):
        list(tables.parquet(file, Fields()))


@pytest.mark.parametrize("cut", [0, 3, 4, 100, -1])
def test_a_torn_parquet_file_is_told(tmp_path: Path, cut: int) -> None:
    data = parquet(tmp_path / "a.parquet", text=["a"] * 100).read_bytes()
    with pytest.raises(Unreadable, match="no Parquet file that can be read"):
        list(tables.parquet(io.BytesIO(data[:cut]), Fields()))
