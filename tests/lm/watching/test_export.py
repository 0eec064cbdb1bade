"""A run's record as other programs read it, and its curves."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ayni.lm.files import add_lines
from ayni.lm.watching import events
from ayni.lm.watching.curves import Against, curves
from ayni.lm.watching.events import Scalar, crc32c, record
from ayni.lm.watching.export import RUN, write_parquet, write_tensorboard
from ayni.lm.watching.record import LOSSES, History, Report
from ayni.lm.watching.svg import draw
from tests.lm.outer.net import Net, rules
from tests.lm.test_commands import ayni, mistake, said
from tests.lm.test_config import GOOD


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of four rounds, as its coordinator leaves it."""
    top = tmp_path_factory.mktemp("run")
    (top / "run.toml").write_text(GOOD)
    place = top / "prueba"
    place.mkdir()
    net = Net(place, rules())
    for base in range(4):
        net.round()
        lines = []
        for n, site in enumerate("abc"):
            losses = {"es": 4.0 - base / 2, f"l{n}": 6.0 - base}
            report = Report(site, base, net.now, losses, {"es": 100, f"l{n}": 50 + n}, 5.0)
            lines.append(report.to_json())
        add_lines(place / LOSSES, lines)
    net.hub.journal.close()
    return top


@pytest.fixture(scope="module")
def history(folder: Path) -> History:
    return History.read(folder / "prueba")


# --- curves -----------------------------------------------------------------------------------


@pytest.mark.parametrize("against", Against)
def test_every_curve_goes_on_along_its_axis(history: History, against: Against) -> None:
    found = curves(history, against)
    assert set(found) == {
        "loss-by-language", "loss-by-site", "tokens", "bytes", "cosines", "norms"
    }  # fmt: skip
    for name, chart in found.items():
        assert chart.lines, name
        for line in chart.lines:
            xs = [x for x, _ in line.points]
            assert xs == sorted(xs) and xs[-1] > xs[0], (name, line.name)
        ElementTree.fromstring(draw(chart))


def test_losses_are_means_by_tokens_and_tokens_are_summed(history: History) -> None:
    found = curves(history)
    by_language = {line.name: line.points for line in found["loss-by-language"].lines}
    assert next(iter(by_language)) == "es"  # the most tokens
    assert [y for _, y in by_language["es"]] == [4.0, 3.5, 3.0, 2.5]
    assert set(by_language) == {"es", "l0", "l1", "l2"}
    (a,) = (line for line in found["loss-by-site"].lines if line.name == "a")
    assert a.points[0] == (0, pytest.approx((400 + 300) / 150))
    total = sum(line.points[-1][1] for line in found["tokens"].lines)
    assert total == history.point(4).tokens


def test_the_command_draws_them_where_it_is_told(folder: Path, tmp_path: Path) -> None:
    made = said("curves", folder / "run.toml", "--out", tmp_path / "new", "--against", "time")
    paths = [Path(path) for path in made["curves"].values()]
    assert len(paths) == 6 and all(path.parent == tmp_path / "new" for path in paths)
    assert "hours since the run began" in (tmp_path / "new" / "tokens.svg").read_text()
    assert (
        str(folder / "prueba" / "curves" / "tokens.svg")
        in ayni("curves", folder / "run.toml").stdout
    )


# --- Parquet ----------------------------------------------------------------------------------


def test_the_table_holds_every_value(folder: Path, history: History, tmp_path: Path) -> None:
    from pyarrow import parquet

    rows = list(history.rows())
    assert write_parquet(tmp_path / "run.parquet", "prueba", rows) == len(rows)
    table = parquet.read_table(tmp_path / "run.parquet")
    assert table.schema.metadata[b"run"] == b"prueba"
    found = table.to_pylist()
    assert [row["value"] for row in found] == [row.value for row in rows]
    assert [row["at"].timestamp() for row in found] == pytest.approx([row.at for row in rows])
    losses = [row for row in found if row["what"] == "loss" and row["site"] == "a"]
    assert [(row["version"], row["language"]) for row in losses[:2]] == [(0, "es"), (0, "l0")]


def test_the_log_as_lines_of_json(folder: Path, history: History) -> None:
    lines = ayni("log", folder / "run.toml").stdout.splitlines()
    assert len(lines) == len(list(history.rows()))
    assert {"at", "version", "step", "tokens", "what", "site", "language", "value"} == set(
        json.loads(lines[0])
    )
    assert len(said("log", folder / "run.toml")["rows"]) == len(lines)


def test_both_files_at_once(folder: Path, tmp_path: Path) -> None:
    made = said(
        "log", folder / "run.toml", "--parquet", tmp_path / "p", "--tensorboard", tmp_path / "t"
    )
    assert len(made["files"]) == 1 + 3 + 1 and "rows" not in made
    assert all(Path(path).stat().st_size > 0 for path in made["files"])


def test_a_log_that_is_not_there(folder: Path, tmp_path: Path) -> None:
    text = mistake("log", folder / "run.toml", "--folder", tmp_path)
    assert "name the folder of its coordinator" in text


# --- TensorBoard ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "crc"),
    [  # RFC 3720, appendix B.4, and the check value of the algorithm's catalogue
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
        (b"123456789", 0xE3069283),
    ],
)
def test_the_check_is_the_standards(data: bytes, crc: int) -> None:
    assert crc32c(data) == crc


def records(path: Path) -> list[bytes]:
    """TFRecords, their checks left out: the reader below looks at them."""
    data, found = path.read_bytes(), []
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        found.append(data[12 : 12 + length])
        data = data[16 + length :]
    return found


def event_class() -> Any:
    """`Event` of TensorFlow's event.proto, as Google's own library understands it."""
    pytest.importorskip("google.protobuf")
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="event.proto", syntax="proto3")

    def message(name: str, *fields: tuple[str, int, int, str]) -> None:
        made = file.message_type.add(name=name)
        for field, number, kind, of in fields:
            repeated = of == "Value"
            label = kinds.LABEL_REPEATED if repeated else kinds.LABEL_OPTIONAL
            made.field.add(name=field, number=number, type=kind, label=label, type_name=of or None)

    message("Value", ("tag", 1, kinds.TYPE_STRING, ""), ("simple_value", 2, kinds.TYPE_FLOAT, ""))
    message("Summary", ("value", 1, kinds.TYPE_MESSAGE, "Value"))
    message(
        "Event",
        ("wall_time", 1, kinds.TYPE_DOUBLE, ""),
        ("step", 2, kinds.TYPE_INT64, ""),
        ("file_version", 3, kinds.TYPE_STRING, ""),
        ("summary", 5, kinds.TYPE_MESSAGE, "Summary"),
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("Event"))


SCALARS = st.builds(
    Scalar, st.floats(0, 1e10), st.integers(0, 1 << 60), st.text("aé/", min_size=1, max_size=200),
    st.floats(width=32, allow_nan=False),
)  # fmt: skip


@given(st.lists(SCALARS, max_size=5))
def test_another_readers_protocol_buffers_are_ours(
    tmp_path_factory: pytest.TempPathFactory, scalars: list[Scalar]
) -> None:
    event = event_class()
    path = tmp_path_factory.mktemp("events") / "events"
    with path.open("wb") as file:
        events.write(file, scalars, 7.0)
    first, *others = (event.FromString(data) for data in records(path))
    assert (first.file_version, first.wall_time) == ("brain.Event:2", 7.0)
    assert [
        Scalar(e.wall_time, e.step, e.summary.value[0].tag, e.summary.value[0].simple_value)
        for e in others
    ] == scalars


def test_tensorboard_itself_reads_them(history: History, tmp_path: Path) -> None:
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    write_tensorboard(tmp_path, history.rows())
    write_tensorboard(tmp_path, history.rows())  # again: in its place
    found = reader.EventAccumulator(str(tmp_path / "a"))
    found.Reload()
    losses = found.Scalars("loss/es")
    assert [one.value for one in losses] == [4.0, 3.5, 3.0, 2.5]
    assert [one.step for one in losses] == [0, 5, 10, 15]
    of_run = reader.EventAccumulator(str(tmp_path / RUN))
    of_run.Reload()
    assert {"cosine/a-b", "cosine/a-before", "update_norm"} <= set(of_run.Tags()["scalars"])


def test_each_site_is_a_run_of_its_own(history: History, tmp_path: Path) -> None:
    made = write_tensorboard(tmp_path, history.rows())
    assert [path.parent.name for path in made] == [RUN, "a", "b", "c"]
    assert all("tfevents" in path.name for path in made)
    tags = made[1].read_bytes()
    assert b"loss/es" in tags and b"loss/l0" in tags and b"loss/l1" not in tags


def test_a_record_is_length_check_data_check() -> None:
    whole = record(b"abc")
    assert struct.unpack("<Q", whole[:8]) == (3,)
    assert whole[12:15] == b"abc" and len(whole) == 19
