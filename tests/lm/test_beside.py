"""Work beside the training."""

from __future__ import annotations

import threading

import pytest

from ayni.lm.beside import Beside


def test_apart_it_goes_on_while_who_asked_does_something_else() -> None:
    go, beside = threading.Event(), Beside(apart=True)
    beside.do("one", lambda: go.wait(60) and threading.current_thread().name)
    beside.do("one", lambda: "not begun twice")
    assert beside.knows("one") and not beside.is_done("one")
    go.set()
    assert beside.take("one") == "one"
    assert not beside.knows("one")


def test_not_apart_it_is_done_at_once() -> None:
    beside = Beside(apart=False)
    beside.do("one", lambda: threading.current_thread())
    assert beside.is_done("one") and beside.take("one") is threading.current_thread()


@pytest.mark.parametrize("apart", [True, False])
def test_what_goes_wrong_is_raised_where_it_is_taken(apart: bool) -> None:
    beside = Beside(apart=apart)
    beside.do("one", lambda: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        beside.take("one")
    assert not beside.knows("one")
