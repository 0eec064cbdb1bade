"""Which hub and whose token: the environment first, then `~/.config/ayni/credentials.toml` (mode 0600).

default = "https://hub.example.org"

[hubs."https://hub.example.org"]
token = "ayni_…"
"""

from __future__ import annotations

import json
import os
import re
import tempfile
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ayni.client.errors import NotSignedIn

_SECRET = re.compile(r"[\x21-\x7e]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Credentials:
    hub: str
    token: str = field(repr=False)


def path(environ: Mapping[str, str] = os.environ) -> Path:
    home = environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(home).expanduser() / "ayni" / "credentials.toml"


def find(
    hub: str | None = None, token: str | None = None, environ: Mapping[str, str] = os.environ
) -> Credentials:
    """What was given, else AYNI_HUB and AYNI_TOKEN, else what `ayni login` stored.

    Raises:
        NotSignedIn: one of the two is known nowhere.
    """
    stored = _read(path(environ))
    hub = hub or environ.get("AYNI_HUB") or stored.default
    if not hub:
        raise NotSignedIn("no hub is known here; run `ayni login`, or set AYNI_HUB and AYNI_TOKEN")
    hub = clean_hub(hub)
    token = token or environ.get("AYNI_TOKEN") or stored.tokens.get(hub)
    if not token:
        raise NotSignedIn(f"no token is known for {hub}; run `ayni login`, or set AYNI_TOKEN")
    return Credentials(hub, clean_token(token))


def clean_hub(hub: str) -> str:
    """The hub's address without a slash at its end; `https://` where no scheme was written.

    Raises:
        NotSignedIn: it is no web address.
    """
    hub = hub.strip().rstrip("/")
    if "://" not in hub:
        hub = f"https://{hub}"
    if not re.fullmatch(r"https?://[^\s/?#@]+(?:/[^\s?#]*)?", hub):
        raise NotSignedIn(
            f"{hub[:200]!r} is no hub's address; write one as https://hub.example.org"
        )
    return hub


def clean_token(token: str) -> str:
    """
    Raises:
        NotSignedIn: it holds what no token holds. The message does not repeat it.
    """
    token = token.strip()
    if not _SECRET.fullmatch(token):
        raise NotSignedIn("the token holds spaces or signs that no token has; copy it again")
    return token


def store(credentials: Credentials, environ: Mapping[str, str] = os.environ) -> Path:
    """Remember the token and make its hub the default. The file is the owner's alone from the start."""
    target = path(environ)
    tokens = {**_read(target).tokens, credentials.hub: credentials.token}
    lines = [f"default = {_quote(credentials.hub)}", ""]
    for hub, token in sorted(tokens.items()):
        lines += [f"[hubs.{_quote(hub)}]", f"token = {_quote(token)}", ""]
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=".credentials-")  # mode 0600
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write("\n".join(lines))
    Path(name).replace(target)
    return target


@dataclass(frozen=True, slots=True)
class _Stored:
    default: str | None = None
    tokens: Mapping[str, str] = field(default_factory=dict, repr=False)


def _read(source: Path) -> _Stored:
    try:
        data = tomllib.loads(source.read_text(encoding="utf-8"))
        hubs = data.get("hubs", {})
        return _Stored(data.get("default"), {hub: str(hubs[hub]["token"]) for hub in hubs})
    except FileNotFoundError:
        return _Stored()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise NotSignedIn(
            f"{source} cannot be read ({error}); mend it, or remove it and run `ayni login`"
        ) from error


def _quote(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
