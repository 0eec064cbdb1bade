"""`python -m bench.simulate`: see `command`."""

from __future__ import annotations

import sys

from bench.simulate.command import main

sys.exit(main())
