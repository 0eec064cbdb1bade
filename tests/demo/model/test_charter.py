"""The sites' operators accept the run's charter: all of them, once all were asked, and exactly that one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ayni.client.errors import NotFound
from ayni.demo.model import charter
from ayni.demo.stage import StageError

SITES = ("santiago", "mexico", "bogota")
DIGEST = "0123456789abcdef" * 4
STAGE: Any = SimpleNamespace(
    specs=dict.fromkeys(SITES), site_folder=lambda site: Path("sites", site), base_env=dict
)


class Network:
    """A hub that says one thing after the other of the channel; an exception is raised."""

    def __init__(self, *said: Any) -> None:
        self._left: Iterator[Any] = iter(said)

    def channel(self, name: str) -> Any:
        return self

    @property
    def info(self) -> Any:
        found = next(self._left)
        if isinstance(found, Exception):
            raise found
        return found


def asked(*sites: str) -> Any:
    answers = [SimpleNamespace(site=site, state="asked") for site in sites]
    return SimpleNamespace(charter_digest=DIGEST, answers=answers)


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """What the operators type."""
    found: list[tuple[str, ...]] = []
    monkeypatch.setattr(charter, "ayni", lambda *words, env: found.append(words))
    monkeypatch.setattr(charter.time, "sleep", lambda seconds: None)
    return found


def accepted(*said: Any, failed: str | None = None) -> str:
    net: Any = Network(*said)
    return charter.accepted(STAGE, net, "lenguas-up", lambda: failed)


def test_each_operator_accepts_once_all_were_asked(typed: list[tuple[str, ...]]) -> None:
    missing = NotFound("no such channel")
    assert accepted(missing, asked(), asked("mexico"), asked(*SITES)) == DIGEST[:12]
    assert sorted(words[words.index("--config") + 1] for words in typed) == sorted(
        f"sites/{site}/agent.toml" for site in SITES
    )
    assert all(words[:4] == ("site", "charter", "accept", DIGEST[:12]) for words in typed)


def test_where_the_run_has_failed_nobody_is_waited_for(typed: list[tuple[str, ...]]) -> None:
    with pytest.raises(StageError, match="no room"):
        accepted(asked("mexico"), failed="no room")
    assert not typed


def test_a_site_that_is_never_asked_ends_the_waiting(
    typed: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(charter, "LIMIT", -1.0)
    with pytest.raises(StageError, match="were not asked"):
        accepted()
