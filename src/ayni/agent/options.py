"""Options that the commands of `ayni site` have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        help="The agent's TOML file; else AYNI_SITE_CONFIG, /etc/ayni/agent.toml, ~/.config/ayni/agent.toml.",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="For programs.")]
