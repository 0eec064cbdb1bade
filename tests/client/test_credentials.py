"""Which hub, whose token, and where it is kept."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from ayni.client import credentials
from ayni.client.credentials import Credentials
from ayni.client.errors import NotSignedIn

HUB = "https://hub.example.org"


def _env(tmp_path: Path, **more: str) -> dict[str, str]:
    return {"XDG_CONFIG_HOME": str(tmp_path), **more}


def test_what_is_stored_is_found_again_and_is_the_owners_alone(tmp_path: Path) -> None:
    env = _env(tmp_path)
    old_mask = os.umask(0)
    try:
        path = credentials.store(Credentials(HUB, "ayni_one"), env)
    finally:
        os.umask(old_mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert credentials.find(environ=env) == Credentials(HUB, "ayni_one")


def test_several_hubs_are_kept_side_by_side_and_the_last_is_the_default(tmp_path: Path) -> None:
    env = _env(tmp_path)
    credentials.store(Credentials(HUB, "ayni_one"), env)
    credentials.store(Credentials('https://other."x"', "ayni_two"), env)
    assert credentials.find(environ=env).token == "ayni_two"
    assert credentials.find(HUB, environ=env).token == "ayni_one"


def test_the_environment_goes_before_what_is_stored(tmp_path: Path) -> None:
    credentials.store(Credentials(HUB, "ayni_one"), _env(tmp_path))
    env = _env(tmp_path, AYNI_HUB="http://localhost:1/", AYNI_TOKEN="ayni_env")
    assert credentials.find(environ=env) == Credentials("http://localhost:1", "ayni_env")
    assert credentials.find(HUB, "given", environ=env) == Credentials(HUB, "given")


def test_a_token_is_never_used_for_another_hub(tmp_path: Path) -> None:
    credentials.store(Credentials(HUB, "ayni_one"), _env(tmp_path))
    with pytest.raises(NotSignedIn, match="no token is known for http://elsewhere"):
        credentials.find(environ=_env(tmp_path, AYNI_HUB="http://elsewhere"))


def test_without_anything_one_is_told_to_sign_in(tmp_path: Path) -> None:
    with pytest.raises(NotSignedIn, match="ayni login"):
        credentials.find(environ=_env(tmp_path))


@pytest.mark.parametrize("hub", ["", "ftp://x", "https://user@x", "https://x y", "https://x?y"])
def test_what_is_no_web_address_is_refused(hub: str) -> None:
    with pytest.raises(NotSignedIn, match="hub"):
        credentials.clean_hub(hub)


def test_a_damaged_file_is_said_with_its_remedy(tmp_path: Path) -> None:
    env = _env(tmp_path)
    path = credentials.store(Credentials(HUB, "ayni_one"), env)
    path.write_text("default = [")
    with pytest.raises(NotSignedIn, match="cannot be read"):
        credentials.find(environ=env)


def test_a_token_is_in_no_repr_and_no_message() -> None:
    assert "secret" not in repr(Credentials(HUB, "secret"))
    with pytest.raises(NotSignedIn) as caught:
        credentials.clean_token("se cret")
    assert "cret" not in str(caught.value).replace("secret", "")
