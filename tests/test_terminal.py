"""What strangers wrote does nothing to a terminal but appear there."""

from __future__ import annotations

import pytest

from ayni import terminal

TRICKS = {
    "\x1b[2J": "^[[2J",  # clears the screen
    "\x1b]0;root\x07": "^[]0;root^G",  # names the window
    "good\rbad": "good^Mbad",  # overwrites a line
    "\x7f": "^?",
    "\x9b31m": "<9b>31m",  # the same as ESC [
    "a\u202eb": "a<202e>b",  # turns the reading direction
}


@pytest.mark.parametrize(("written", "shown"), TRICKS.items())
def test_control_characters_of_a_log_are_shown_and_not_obeyed(written: str, shown: str) -> None:
    assert terminal.lines(written) == shown
    assert b"".join(terminal.log([written.encode()])).decode() == shown
    assert terminal.one_line(written).isprintable()


def test_lines_tabs_and_letters_of_any_language_stay() -> None:
    text = "uno\tdos\nñandú ʼ tres שלום\n"
    assert terminal.lines(text) == text


def test_a_letter_or_a_trick_cut_in_two_by_the_network_is_put_together() -> None:
    data = "ñ\x9b1m\xff".encode() + b"\xc3"  # ends within a letter
    found = b"".join(terminal.log(data[n : n + 1] for n in range(len(data))))
    assert found.decode() == "ñ<9b>1mÿ\ufffd"
