"""`ayni lm generate`: how an exported model goes on with a text."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from ayni.client.commands.console import Json, emit, examples
from ayni.errors import UserError
from ayni.terminal import lines


def register(lm: typer.Typer) -> None:
    """Add the command to `ayni lm`."""
    lm.command(epilog=examples('ayni lm generate model/ "Todos los seres humanos"'))(generate)


def need_torch() -> None:
    """Refuse, where the libraries of training are missing; most of `ayni lm` does without.

    Raises:
        UserError: with the way to install them.
    """
    for library in ("torch", "transformers", "safetensors"):
        if find_spec(library) is None:
            raise UserError(
                f"this needs {library}, which is not installed: pip install 'ayni[lm]' (the joint "
                "model's page says how to have torch without GPU libraries)"
            )


def generate(
    model: Annotated[Path, typer.Argument(help="A folder in the Hugging Face layout.")],
    prompt: Annotated[str, typer.Argument(help="What it goes on with; empty: a new text.")] = "",
    tokens: Annotated[int, typer.Option(min=1, help="At most so many.")] = 64,
    temperature: Annotated[
        float, typer.Option(min=0, max=10, help="0: the likeliest token each time.")
    ] = 0.0,
    seed: Annotated[int, typer.Option(min=0, help="Of what is drawn.")] = 0,
    as_json: Json = False,
) -> None:
    """How an exported model goes on with a text."""
    need_torch()
    from ayni.lm.release.generate import generate as written

    text = written(model, prompt, tokens=tokens, temperature=temperature, seed=seed)
    if as_json:
        emit({"model": str(model), "prompt": prompt, "text": text})
    else:
        typer.echo(lines(text))
