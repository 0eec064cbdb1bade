"""A network to a test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.lm.outer.net import Net, rules


@pytest.fixture
def network(tmp_path: Path) -> Callable[..., Net]:
    made = []

    def make(fragments: tuple[str, ...] = ("all",), **changes: object) -> Net:
        made.append(Net(tmp_path / str(len(made)), rules(**changes), fragments))
        return made[-1]

    return make
