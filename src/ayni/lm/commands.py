"""`ayni lm …`: the joint language model."""

from __future__ import annotations

from importlib.util import find_spec

import typer

# Looked for, not imported: they are slow to load. Without them `ayni` says that the part is not installed.
for _library in ("langcodes", "numpy", "pyarrow", "regex", "selectolax", "tokenizers"):
    if find_spec(_library) is None:
        raise ModuleNotFoundError(f"No module named {_library!r}", name=_library)

from ayni.lm import (  # noqa: E402
    contribution_commands,
    corpus_commands,
    model_commands,
    plan_commands,
    run_commands,
    tokenizer_commands,
    watch_commands,
)


def register(app: typer.Typer) -> None:
    """Add the commands to `ayni`."""
    lm = typer.Typer(no_args_is_help=True, help="The joint language model.")
    corpus_commands.register(lm)
    tokenizer_commands.register(lm)
    model_commands.register(lm)
    plan_commands.register(lm)
    run_commands.register(lm)
    contribution_commands.register(lm)
    watch_commands.register(lm)
    app.add_typer(lm, name="lm")
