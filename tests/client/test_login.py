"""`ayni login`."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from ayni.client import credentials
from tests.client.conftest import HUB, Run, World
from tests.hub import factories as make


def test_a_token_is_tried_and_then_kept(cli: Run, world: World) -> None:
    result = cli("login", HUB, "--token", world.secret)
    assert result.code == 0
    assert world.person.email in result.out
    assert "langs" in result.out
    assert world.secret not in result.out + result.err
    path = credentials.path()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert credentials.find().token == world.secret


def test_the_token_may_come_from_stdin(cli: Run, world: World) -> None:
    answer = cli("login", HUB, "--json", stdin=f"{world.secret}\n").json
    assert answer["hub"] == HUB
    assert answer["project"]["name"] == "langs"
    assert credentials.find().token == world.secret


def test_a_token_that_the_hub_refuses_is_not_kept(cli: Run, world: World) -> None:
    make.revoke(world.secret)
    result = cli("login", HUB, "--token", world.secret)
    assert result.code == 2
    assert result.err.count("\n") == 1
    assert not credentials.path().exists()


def test_an_unencrypted_hub_elsewhere_is_warned_of(cli: Run, world: World) -> None:
    assert "is not encrypted" in cli("login", HUB, "--token", world.secret).err


@pytest.mark.parametrize("token", ["", "two words", "\x1b[31m"])
def test_what_can_be_no_token_is_refused_in_one_line(cli: Run, token: str) -> None:
    result = cli("login", HUB, "--token", token, stdin="")
    assert (result.code, result.err.count("\n")) == (2, 1)


def test_commands_before_signing_in_say_what_to_do(run: Run, tmp_path: Path) -> None:
    result = run("ps")
    assert result.code == 2
    assert result.err.startswith("ayni: no hub is known here; run `ayni login`")


def test_a_hub_that_is_not_there_is_one_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ayni.client.connection.PATIENCE", 0.0)
    monkeypatch.setenv("AYNI_HUB", "http://127.0.0.1:9")
    monkeypatch.setenv("AYNI_TOKEN", "ayni_x")
    result = run("sites")
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert "does not answer" in result.err
