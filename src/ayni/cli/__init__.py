"""The frame of the `ayni` command. Each part brings its own commands, by entry points.

Import rule: this package imports nothing of Ayni but `errors` and `terminal`; parts are found at run time.
"""

from ayni.cli.frame import main

__all__ = ["main"]
