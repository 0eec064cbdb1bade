"""`ayni site register`: a one-time code becomes the site's key."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from ayni import __version__
from ayni.agent import config as configuration
from ayni.agent import hub, identity
from ayni.agent.config import Config
from ayni.agent.journal import incarnation
from ayni.errors import UserError

_STARTER = """\
# The agent of this site. Every key is explained in docs/operators/agent.example.toml.
# Check it with 'ayni site doctor', try a task against it with 'ayni site policy check task.json'.

hub = "{hub}"
state = "{state}"
production = true

[policy]                # what this site takes: without limits it takes every member and project
network = false
max_walltime = "24h"

[images.host]           # tasks see this machine's /usr, read-only, in a sandbox
runtime = "host"

[executor]
kind = "local"
cores = {cores}
memory = "{memory}GiB"
"""


def place_for_config() -> Path:
    """Where a new configuration goes."""
    if named := os.environ.get(configuration.PLACES[0]):
        return Path(named)
    etc, home = (Path(place).expanduser() for place in configuration.PLACES[1:])
    return etc if os.geteuid() == 0 else home


def register(address: str, code: str, path: Path | None) -> tuple[Config, Path, str]:
    """Trade the code for the key and keep it.

    Args:
        address: the hub's.
        code: given by the hub's operator; it works once.
        path: the configuration; a starter is written if it is not there.

    Returns:
        The configuration, its file, and the site's name in the network.

    Raises:
        UserError: anything that the operator can mend.
    """
    path = path or _existing() or place_for_config()
    text = path.read_text() if path.exists() else _starter(address)
    config = configuration.parse(text, path)
    if config.hub != address.rstrip("/"):
        raise UserError(
            f"{path} names the hub {config.hub}, not {address}; change it there or give that one"
        )
    _check_writable(config.state)
    info = {"version": __version__, "host": socket.gethostname()}
    if (known := incarnation(config.state)) is not None:
        info["incarnation"] = known
    with hub.client(config, None) as http:
        try:
            found = hub.Hub(http, config.https.timeout).register(code.strip(), info)
        except hub.HubError as error:
            raise UserError(str(error)) from error
    if not path.exists():
        _write_new(path, text)
    identity.save(config, found["site"], found["token"])
    identity.signer(config)
    return config, path, str(found["site"])


def _existing() -> Path | None:
    try:
        return configuration.find()
    except UserError:
        return None


def _starter(address: str) -> str:
    root = os.geteuid() == 0
    state = Path("/var/lib/ayni") if root else Path("~/.local/state/ayni").expanduser()
    machine = configuration.ExecutorSection()
    return _STARTER.format(
        hub=address.rstrip("/"),
        state=state,
        cores=machine.cores,
        memory=max(1, machine.memory >> 30),
    )


def _check_writable(folder: Path) -> None:
    """Before the code is used up: the key must have a place."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        probe = folder / ".probe"
        probe.write_text("")
        probe.unlink()
    except OSError as error:
        raise UserError(f"the state folder {folder} cannot be written: {error.strerror}") from error


def _write_new(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}") from error
