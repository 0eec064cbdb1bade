"""How this package's processes are started: a bare interpreter, without site packages."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

_SOURCE = os.path.abspath(os.path.join(os.path.dirname(__file__), *[".."] * 3))
_CODE = (
    "import sys, json; sys.path.insert(0, sys.argv[1]); "
    "from importlib import import_module as load; "
    "load(sys.argv[2]).main(*json.loads(sys.argv[3]))"
)


def command(module: str, *arguments: Any) -> list[str]:
    """The command line that calls `main(*arguments)` of one of our modules."""
    name = f"ayni.agent.supervisor.{module}"
    return [sys.executable, "-I", "-S", "-c", _CODE, _SOURCE, name, json.dumps(arguments)]
