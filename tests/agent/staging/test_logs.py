"""Tails of logs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ayni.agent.staging import logs
from ayni.protocol.messages import LOG_TAIL


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "logs").mkdir()
    return tmp_path


def write(folder: Path, name: str, data: bytes) -> None:
    (folder / "logs" / name).write_bytes(data)


def test_empty_logs_are_not_told(folder: Path) -> None:
    write(folder, "0.stdout", b"")
    write(folder, "0.stderr", b"")
    assert logs.find(folder) == []


def test_an_attempt_that_never_ran_has_no_logs(tmp_path: Path) -> None:
    assert logs.find(tmp_path) == []


def test_logs_come_in_the_order_of_their_commands(folder: Path) -> None:
    for name in ("10.stdout", "2.stderr", "2.stdout", "0.stderr"):
        write(folder, name, b"x")
    found = [(log.command, log.stream) for log in logs.find(folder)]
    assert found == [(0, "stderr"), (2, "stdout"), (2, "stderr"), (10, "stdout")]


def test_only_logs_are_told(folder: Path) -> None:
    for name in ("x.stdout", "0.stdin", "0.stdout.part", "²​.stdout"):
        write(folder, name, b"x")
    os.mkfifo(folder / "logs" / "1.stdout")
    (folder / "logs" / "2.stdout").symlink_to("/etc/passwd")
    assert logs.find(folder) == []


def test_a_short_log_is_its_own_tail(folder: Path) -> None:
    write(folder, "0.stdout", "hola, ¿qué tal?\n".encode())
    [log] = logs.find(folder)
    report = logs.tail(log)
    assert report.tail == "hola, ¿qué tal?\n"
    assert (report.command, report.stream, report.size) == (0, "stdout", log.size)
    assert not log.outgrows_tail


def test_of_a_long_log_the_end_is_told(folder: Path) -> None:
    write(folder, "0.stdout", b"first" + b"\n" * LOG_TAIL + b"last")
    [log] = logs.find(folder)
    report = logs.tail(log)
    assert report.size == LOG_TAIL + 9
    assert len(report.tail) == LOG_TAIL
    assert report.tail.endswith("\nlast")
    assert log.outgrows_tail


def test_a_huge_log_costs_no_more_than_its_tail(folder: Path) -> None:
    with (folder / "logs" / "0.stdout").open("wb") as file:
        file.truncate(10 << 30)
    report = logs.tail(logs.find(folder)[0])
    assert report.size == 10 << 30
    assert len(report.tail.encode()) <= LOG_TAIL


def test_a_tail_begins_with_a_whole_character(folder: Path) -> None:
    write(folder, "0.stdout", b"x" + "ñ".encode() * LOG_TAIL)
    report = logs.tail(logs.find(folder)[0])
    assert set(report.tail) == {"ñ"}


@given(st.binary(max_size=300), st.booleans())
def test_any_bytes_become_text_that_can_be_kept(data: bytes, cut: bool) -> None:
    text = logs.text_of(data * 400, cut=cut)
    assert len(text.encode()) <= LOG_TAIL
    assert "\0" not in text


def test_nuls_and_broken_utf8_are_shown_as_replaced() -> None:
    assert logs.text_of(b"a\0b\xffc", cut=False) == "a\ufffdb\ufffdc"


def test_a_watcher_is_told_only_what_grew(folder: Path) -> None:
    write(folder, "0.stdout", b"a")
    write(folder, "0.stderr", b"b")
    assert len(logs.changed(folder, {})) == 2
    seen = {(0, "stdout"): 1, (0, "stderr"): 1}
    assert logs.changed(folder, seen) == []
    write(folder, "0.stderr", b"bb")
    assert [report.tail for report in logs.changed(folder, seen)] == ["bb"]
