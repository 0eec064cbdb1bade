"""A growing log is told once, byte by byte, whatever windows arrive."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ayni.client.models import LogPage
from ayni.client.tail import Growing


def _window(log: bytes, size: int, length: int) -> LogPage:
    offset = max(0, size - length)
    text = log[offset:size].decode("utf-8", "replace")
    return LogPage(text=text, offset=offset, size=size)


@given(st.text(st.characters(codec="ascii")), st.data())
def test_windows_of_a_growing_log_join_to_the_log(log: str, data: st.DataObject) -> None:
    raw = log.encode()
    sizes = sorted([*data.draw(st.lists(st.integers(0, len(raw)), max_size=6)), len(raw)])
    longest = max([b - a for a, b in zip([0, *sizes], sizes, strict=False)], default=0)
    length = data.draw(st.integers(max(1, longest), max(1, longest) + 20))
    grown = Growing()
    assert "".join(grown.added(_window(raw, size, length)) for size in sizes) == log


def test_letters_of_several_bytes_and_broken_ones_are_told_once_while_the_window_grows() -> None:
    raw = "año ñandú ☀ ".encode() + b"\xff\xfe end"
    grown = Growing()
    told = "".join(grown.added(_window(raw, size, 1000)) for size in (4, 13, 17, len(raw)))
    assert told == raw.decode("utf-8", "replace")


def test_what_was_missed_is_said() -> None:
    grown = Growing()
    assert grown.added(LogPage(text="abc", offset=0, size=3)) == "abc"
    added = grown.added(LogPage(text="xyz", offset=103, size=106))
    assert "100 bytes are not shown" in added
    assert added.endswith("xyz")


def test_a_new_attempt_begins_its_log_anew() -> None:
    grown = Growing()
    grown.added(LogPage(text="first try", offset=0, size=9))
    assert grown.added(LogPage(text="2nd", offset=0, size=3)) == "2nd"
