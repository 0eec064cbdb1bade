"""Who this site is in the network: its name, its key towards the hub, and the key that signs what its tasks
say, each in a file of its own."""

from __future__ import annotations

import json
import stat
from dataclasses import dataclass

from ayni.agent.config import Config
from ayni.errors import UserError
from ayni.signatures import Signer, new_secret, signer_at, write_secret

_FILE = "site.json"
SIGNING = "signing.key"
_REGISTER = "register it with 'ayni site register --hub URL --code CODE'"


@dataclass(frozen=True, slots=True)
class Identity:
    """A registered site."""

    site: str
    key: str


def load(config: Config) -> Identity:
    """The site's name and key.

    Raises:
        UserError: it is not registered, or others may read its key.
    """
    path, key_path = config.state / _FILE, config.key_path
    try:
        site = json.loads(path.read_text())["site"]
        key = key_path.read_text().strip()
        mode = key_path.stat().st_mode
    except FileNotFoundError as error:
        raise UserError(
            f"this site is not registered ({error.filename} is not there): {_REGISTER}"
        ) from error
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"the site's registration cannot be read: {error}; {_REGISTER}") from error
    if not key:
        raise UserError(f"{key_path} is empty: {_REGISTER}")
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise UserError(f"others may read the site's key: chmod 600 {key_path}")
    return Identity(str(site), key)


def save(config: Config, site: str, key: str) -> None:
    """Keep them: the key for the agent's user alone.

    Raises:
        UserError: a file cannot be written.
    """
    try:
        config.state.mkdir(parents=True, exist_ok=True, mode=0o700)
        config.key_path.parent.mkdir(parents=True, exist_ok=True)
        write_secret(config.key_path, key)
        write_secret(config.state / _FILE, json.dumps({"site": site, "hub": config.hub}))
    except OSError as error:
        raise UserError(f"the site's key cannot be kept: {error}") from error


def signer(config: Config) -> Signer:
    """What signs for this site; its key is made when it is wanted for the first time.

    Raises:
        UserError: the key is damaged, cannot be kept, or others may read it.
    """
    return signer_at(config.state / SIGNING, "make a new key with 'ayni site key new'")


def renew_signer(config: Config) -> Signer:
    """A new signing key in the place of the old one.

    Raises:
        UserError: it cannot be kept.
    """
    try:
        write_secret(config.state / SIGNING, new_secret())
    except OSError as error:
        raise UserError(
            f"{config.state} cannot be written ({error.strerror}); are you the agent's user?"
        ) from error
    return signer(config)
