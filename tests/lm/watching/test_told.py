"""Alarms are told once, and take no more memory however many there are."""

from __future__ import annotations

from pathlib import Path

from ayni.lm.watching.alarms import Alarm
from ayni.lm.watching.told import Told


def alarm(number: int) -> Alarm:
    return Alarm(f"spike/cdmx/{number}", float(number), "spike", "cdmx", f"round {number}")


def lines(path: Path) -> int:
    return len(path.read_text().splitlines())


def test_what_was_told_is_not_told_again_also_where_it_is_not_remembered(tmp_path: Path) -> None:
    path = tmp_path / "alarms.jsonl"
    found = [alarm(number) for number in range(100)]
    told = Told(path, most=10)
    for one in found:
        told.tell([one])
    for again in (told, Told(path, most=10)):
        again.tell(found)  # as the books say it
        assert again.last == found[-10:] and lines(path) == 100
    again.tell([alarm(100)])
    assert again.last[-1] == alarm(100) and lines(path) == 101


def test_a_line_that_is_torn_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "alarms.jsonl"
    Told(path).tell([alarm(1)])
    with path.open("a") as file:
        file.write('{"key": "spike')
    assert Told(path).last == [alarm(1)]
