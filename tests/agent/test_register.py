"""`ayni site register`: a code becomes a key that only the agent's user reads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ayni.agent import config, identity
from ayni.agent.journal import Journal
from ayni.agent.register import register
from ayni.cli.frame import build
from ayni.errors import UserError
from tests.agent.fakehub import KEY, FakeHub


def test_a_good_code_gives_a_key_and_a_starter_configuration(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AYNI_SITE_CONFIG", str(tmp_path / "etc/agent.toml"))
    monkeypatch.setattr("ayni.agent.register.os.geteuid", lambda: 1000)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    loaded, path, name = register(hub.url + "/", " good-code\n", None)
    assert (path, name) == (tmp_path / "etc/agent.toml", "andes")
    assert config.load(path) == loaded
    assert loaded.production
    assert loaded.state == tmp_path / "home/.local/state/ayni"
    assert loaded.key_path.stat().st_mode & 0o777 == 0o600
    assert identity.load(loaded) == identity.Identity("andes", KEY)


def test_a_configuration_that_is_there_is_kept(hub: FakeHub, tmp_path: Path) -> None:
    path = tmp_path / "agent.toml"
    text = f'hub = "{hub.url}"\nstate = "here"\nkey_file = "keys/k"\n'
    path.write_text(text)
    loaded, _, _ = register(hub.url, "good-code", path)
    assert path.read_text() == text
    assert loaded.key_path == tmp_path / "keys/k"
    assert identity.load(loaded).key == KEY


def test_the_journals_name_goes_along_so_that_its_attempts_are_kept(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "agent.toml"
    path.write_text(f'hub = "{hub.url}"\nstate = "state"\n')
    journal = Journal(tmp_path / "state")
    journal.close()
    said = {}
    real = hub._register
    monkeypatch.setattr(hub, "_register", lambda words: (said.update(words), real(words))[1])
    register(hub.url, "good-code", path)
    assert said["incarnation"] == journal.incarnation


@pytest.mark.parametrize(
    ("address", "code", "message"),
    [
        (None, "bad-code", "ask for a new one"),
        ("http://127.0.0.1:9", "good-code", "cannot be reached"),
        ("ftp://x", "good-code", "write https://"),
    ],
)
def test_what_goes_wrong_is_said_and_nothing_is_left_behind(
    hub: FakeHub, tmp_path: Path, address: str | None, code: str, message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("ayni.agent.register.os.geteuid", lambda: 1000)
    path = tmp_path / "agent.toml"
    with pytest.raises(UserError, match=message):
        register(address or hub.url, code, path)
    assert not path.exists()


def test_another_hub_than_the_configurations_is_refused(hub: FakeHub, tmp_path: Path) -> None:
    path = tmp_path / "agent.toml"
    path.write_text('hub = "https://other.example"\nstate = "s"')
    with pytest.raises(UserError, match=r"other\.example"):
        register(hub.url, "good-code", path)


def test_a_state_folder_that_cannot_be_written_does_not_use_the_code_up(
    hub: FakeHub, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    path = tmp_path / "agent.toml"
    path.write_text(f'hub = "{hub.url}"\nstate = "file/state"')
    with pytest.raises(UserError, match="cannot be written"):
        register(hub.url, "good-code", path)
    assert hub.requests == 0


def test_a_key_that_others_may_read_is_not_used(hub: FakeHub, tmp_path: Path) -> None:
    path = tmp_path / "agent.toml"
    path.write_text(f'hub = "{hub.url}"\nstate = "state"')
    loaded, _, _ = register(hub.url, "good-code", path)
    loaded.key_path.chmod(0o644)
    with pytest.raises(UserError, match="chmod 600"):
        identity.load(loaded)


def test_the_command_speaks_to_programs_and_never_shows_the_key(
    hub: FakeHub, tmp_path: Path
) -> None:
    path = tmp_path / "agent.toml"
    path.write_text(f'hub = "{hub.url}"\nstate = "state"')
    options = ["--config", str(path), "--hub", hub.url, "--code", "good-code", "--json"]
    done = CliRunner().invoke(build(), ["site", "register", *options])
    assert done.exit_code == 0
    assert json.loads(done.output)["site"] == "andes"
    assert KEY not in done.output


# --- the key that signs what tasks say --------------------------------------------------------


def _site(folder: Path, *arguments: str) -> str:
    (folder / "agent.toml").write_text('hub = "http://hub"\nstate = "state"\n')
    done = CliRunner().invoke(build(), ["site", *arguments, "--config", str(folder / "agent.toml")])
    if done.exception is not None:
        raise done.exception
    return done.stdout.strip()


def test_a_site_that_registers_again_keeps_the_key_that_others_have_pinned(
    hub: FakeHub, tmp_path: Path
) -> None:
    path = tmp_path / "agent.toml"
    path.write_text(f'hub = "{hub.url}"\nstate = "state"\n')
    keys = set()
    for _ in range(2):
        loaded, _, _ = register(hub.url, "good-code", path)
        keys.add(identity.signer(loaded).public)
    assert len(keys) == 1
    assert (loaded.state / identity.SIGNING).stat().st_mode & 0o777 == 0o600


def test_an_operator_shows_the_key_and_makes_another(tmp_path: Path) -> None:
    first = _site(tmp_path, "key", "show")
    assert len(first) == 64 and _site(tmp_path, "key", "show") == first
    second = json.loads(_site(tmp_path, "key", "new", "--json"))["key"]
    assert second != first and _site(tmp_path, "key", "show") == second


@pytest.mark.parametrize(("text", "mode"), [("zz", 0o600), ("", 0o600), ("00" * 32, 0o640)])
def test_a_signing_key_that_is_damaged_or_open_to_others_is_not_used(
    tmp_path: Path, text: str, mode: int
) -> None:
    _site(tmp_path, "key", "show")
    path = tmp_path / "state" / identity.SIGNING
    path.write_text(text)
    path.chmod(mode)
    with pytest.raises(UserError, match=r"signing"):
        _site(tmp_path, "key", "show")
    assert path.read_text() == text
