"""Builds the `ayni` command from the parts that are installed, and speaks to the person when one fails."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Annotated, Any

import typer

from ayni import __version__
from ayni.errors import UserError
from ayni.terminal import one_line

GROUP = "ayni.commands"
USER_ERROR = 2
INTERNAL_ERROR = 70  # EX_SOFTWARE of sysexits.h
INTERRUPTED = 130

#: Parts that may be left out, each with its extra; each is one command of its own name.
EXTRAS = {"hub": "hub", "site": "agent", "demo": "demo", "lm": "lm"}

Register = Callable[[typer.Typer], None]
#: What Typer raises for wrong arguments; where the class itself is depends on Typer's version.
_UsageError: Any = typer.BadParameter.__base__


def build(parts: Iterable[EntryPoint] | None = None) -> typer.Typer:
    """The command with every part that can be imported; the help names those that cannot."""
    found = sorted(entry_points(group=GROUP) if parts is None else parts, key=lambda p: p.name)
    registers: list[Register] = []
    missing: list[str] = []
    for part in found:
        try:
            registers.append(part.load())
        except ModuleNotFoundError as error:
            missing.append(f"{part.name} (needs {error.name})")
            if part.name in EXTRAS:
                registers.append(_absent(part.name, str(error.name)))
    app = typer.Typer(
        name="ayni",
        help="Supercomputers, people and results of several countries in one pool.",
        epilog=f"Not installed here: {', '.join(missing)}." if missing else None,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    for register in registers:
        register(app)
    return app


def _absent(name: str, needs: str) -> Register:
    """A command that says how to install the part: whoever types it deserves more than "no such"."""

    def register(app: typer.Typer) -> None:
        @app.command(
            name,
            hidden=True,
            add_help_option=False,
            context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
        )
        def absent() -> None:
            raise UserError(
                f"'ayni {name}' is not installed here (there is no {needs}); "
                f"install it with: pip install 'ayni[{EXTRAS[name]}]'"
            )

    return register


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command; a person's mistake is one line on stderr and exit code 2."""
    try:
        code = build()(args=argv, prog_name="ayni", standalone_mode=False)
    except UserError as error:
        _say(str(error))
        sys.exit(USER_ERROR)
    except _UsageError as error:
        if message := error.format_message():  # there is none where the help was printed instead
            where = error.ctx.command_path if error.ctx else "ayni"
            _say(f"{message.rstrip('.')}; see '{where} --help'")
        sys.exit(USER_ERROR)
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        # The reader of our output has gone (`ayni ps | head`): nothing more to say to anybody.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        if os.environ.get("AYNI_DEBUG"):
            raise
        _say(
            f"a fault in ayni itself: {type(error).__name__}: {error} "
            "(set AYNI_DEBUG=1 to see where; please report it)"
        )
        sys.exit(INTERNAL_ERROR)
    sys.exit(code)


def _say(message: str) -> None:
    print("ayni: " + " ".join(one_line(message).split()), file=sys.stderr)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"ayni {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Say the version and leave."
        ),
    ] = False,
) -> None:
    pass
