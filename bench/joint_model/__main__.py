"""`python -m bench.joint_model`: see `bench.joint_model`."""

from __future__ import annotations

import sys
from importlib.util import find_spec

if find_spec("torch") is None or find_spec("transformers") is None:
    sys.exit("bench.joint_model needs torch and transformers: pip install -e '.[lm]'")

from ayni.errors import UserError
from bench.joint_model.command import main

try:
    main()
except UserError as error:
    sys.exit(str(error))
