"""`python -m bench.gpu`: see `bench.gpu`."""

from __future__ import annotations

import sys
from importlib.util import find_spec

if any(find_spec(name) is None for name in ("torch", "transformers", "accelerate")):
    sys.exit(
        "bench.gpu needs torch, transformers and accelerate: pip install -e '.[lm]' accelerate"
    )

from bench.gpu.command import main

sys.exit(main())
