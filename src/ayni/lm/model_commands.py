"""`ayni lm export`, `card`, `evaluate`, `exposure`, `generate`: a run's model as others use it."""

from __future__ import annotations

import logging
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ayni.client.commands.console import Column, Json, emit, examples, open_network, out, say, table
from ayni.errors import UserError
from ayni.terminal import lines

if TYPE_CHECKING:
    from ayni.client.network import Network
    from ayni.lm.config import Run
    from ayni.lm.release.facts import Facts, Given

_LOSSES = ("LANGUAGE", "TOKENS", "LOSS", "BITS A BYTE")

Model = Annotated[Path, typer.Argument(help="A folder in the Hugging Face layout.")]
Measured = Annotated[
    list[Path] | None,
    typer.Option(
        "--losses", metavar="FILE", help="What 'ayni lm evaluate' found at a site; may be repeated."
    ),
]
Compared = Annotated[
    list[str] | None,
    typer.Option(
        "--compare",
        metavar="NAME=FILE",
        help="The same of another model: where is this one worse? May be repeated.",
    ),
]
Exposed = Annotated[
    list[Path] | None,
    typer.Option(
        "--exposure",
        metavar="FILE",
        help="What 'ayni lm exposure' found at a site; may be repeated.",
    ),
]
Energy = Annotated[
    list[str] | None,
    typer.Option(metavar="SITE=KWH", help="What a site measured itself, in kWh; may be repeated."),
]
Licence = Annotated[
    str | None, typer.Option(help="As Hugging Face names it, such as apache-2.0.", metavar="NAME")
]


def register(lm: typer.Typer) -> None:
    """Add the commands to `ayni lm`."""
    lm.command(
        epilog=examples(
            "ayni lm export run.toml --out model/",
            "ayni lm export run.toml --round 40 --out model/ --tokenizer tokenizer/ --licence apache-2.0",
        )
    )(export)
    lm.command(
        epilog=examples(
            "ayni lm card model/ --losses santiago.json --losses bogota.json",
            "ayni lm card model/ --compare 'Chile alone=chile.json' --exposure canaries.json",
        )
    )(card)
    lm.command(epilog=examples("ayni lm evaluate model/ shards/ --json > losses.json"))(evaluate)
    lm.command(epilog=examples("ayni lm exposure model/ shards/ --json > exposure.json"))(exposure)
    lm.command(
        epilog=examples(
            'ayni lm generate model/ "Todos los seres humanos"',
            'ayni lm generate model/ "Lliw runakuna" --tokens 20 --temperature 0.8 --seed 1',
        )
    )(generate)


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


def export(
    configuration: Annotated[
        Path, typer.Argument(help="run.toml: what the run is.", metavar="RUN")
    ],
    out_: Annotated[Path, typer.Option("--out", help="A new folder, for the model.")],
    number: Annotated[
        int | None,
        typer.Option("--round", min=0, help="The version; by default the newest that is settled."),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option(help="The coordinator's memory; by default beside RUN, by the run's name."),
    ] = None,
    tokenizer: Annotated[
        Path | None, typer.Option(help="Its folder; by default the one that RUN names.")
    ] = None,
    precision: Annotated[
        Literal["float32", "bfloat16"], typer.Option(help="Of the weights.")
    ] = "float32",
    losses: Measured = None,
    compare: Compared = None,
    exposures: Exposed = None,
    energy: Energy = None,
    licence: Licence = None,
    as_json: Json = False,
) -> None:
    """Export a round of a run as others load it, with a card of the record's facts."""
    need_torch()
    from ayni.lm import config
    from ayni.lm.release.publish import Wanted, publish

    _quiet()
    run = config.load(configuration)
    given = _given(losses, compare, exposures, energy, licence)
    wanted = Wanted(number=number, tokenizer=tokenizer, precision=precision, given=given)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    place = folder or configuration.parent / run.run
    _released(publish(run, place, out_, wanted, network=_network(run)), out_, as_json)


def card(
    model: Model,
    losses: Measured = None,
    compare: Compared = None,
    exposures: Exposed = None,
    energy: Energy = None,
    licence: Licence = None,
    as_json: Json = False,
) -> None:
    """Write an exported model's card anew, with what was measured of it since."""
    need_torch()
    from ayni.lm.release.publish import amend

    found = amend(model, _given(losses, compare, exposures, energy, licence))
    _released(found, model, as_json)


def evaluate(
    model: Model,
    shards: Annotated[
        list[Path], typer.Argument(help="Folders of 'ayni lm corpus pack'.", metavar="SHARDS")
    ],
    length: Annotated[
        int | None, typer.Option(min=2, help="Of a row, in tokens; by default 1024 or the context.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure a model's losses on what is held out in shards, by language."""
    need_torch()
    from ayni.lm.release.measure import losses

    found = losses(model, shards, length=length)
    if as_json:
        emit(found)
        return
    columns = [Column(name, right=place > 0) for place, name in enumerate(_LOSSES)]
    rows = [
        (name, one.tokens, f"{one.loss:.3f}", "" if one.bits is None else f"{one.bits:.3f}")
        for name, one in sorted(found.languages.items())
    ]
    out().print(table(columns, rows, out()))


def exposure(
    model: Model,
    planted: Annotated[
        Path,
        typer.Argument(help="Shards with canaries, or their canaries.json.", metavar="CANARIES"),
    ],
    candidates: Annotated[
        int, typer.Option(min=1, max=10_000_000, help="Sequences that each is ranked among.")
    ] = 9999,
    as_json: Json = False,
) -> None:
    """Measure how well a model knows canaries that were planted in its training text."""
    need_torch()
    from ayni.lm.corpus import canaries
    from ayni.lm.release.measure import exposure as measured

    found = measured(model, canaries.load(planted), candidates=candidates)
    if as_json:
        emit(found)
        return
    names = ("PLANTED", "CANARIES", "MEDIAN", "MEAN", "MOST")
    groups = [(f"{one.times} times", one) for one in found.planted]
    rows = [
        (label, one.count, f"{one.median:.1f}", f"{one.mean:.1f}", f"{one.most:.1f}")
        for label, one in [*groups, ("never", found.control)]
    ]
    columns = [Column(name, right=place > 0) for place, name in enumerate(names)]
    out().print(table(columns, rows, out()))
    say(f"in bits; among {candidates} sampled sequences no more than {found.bound:.1f} can be seen")


def generate(
    model: Model,
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


# --- what they share --------------------------------------------------------------------------


def _quiet() -> None:
    """transformers draws bars of its own."""
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()


def _network(run: Run) -> Network | None:
    """The network, if somebody is signed in; an export needs it only for what the folder has not."""
    from ayni.client.errors import NotSignedIn
    from ayni.lm.launch import check_project

    try:
        network = open_network()
    except NotSignedIn as error:
        say(f"{error}; without it the card lacks members and hours")
        return None
    check_project(network, run)
    return network


def _given(
    losses: list[Path] | None,
    compare: list[str] | None,
    exposures: list[Path] | None,
    energy: list[str] | None,
    licence: str | None,
) -> Given:
    from ayni.lm.release.evidence import Exposure, Losses, load
    from ayni.lm.release.facts import Given

    compared: dict[str, list[Losses]] = {}
    for name, file in (_pair("--compare", text, "NAME=FILE") for text in compare or []):
        compared.setdefault(name, []).append(load(Losses, Path(file)))
    return Given(
        losses=[load(Losses, path) for path in losses or []],
        compared=compared,
        exposures=[load(Exposure, path) for path in exposures or []],
        energy={site: _kwh(site, text) for site, text in _energies(energy)},
        licence=licence,
    )


def _energies(energy: list[str] | None) -> list[tuple[str, str]]:
    return [_pair("--energy", text, "SITE=KWH") for text in energy or []]


def _pair(option: str, text: str, form: str) -> tuple[str, str]:
    name, equals, value = text.rpartition("=") if option == "--energy" else text.partition("=")
    if not (name.strip() and equals and value):
        raise UserError(f"{option} {text}: write {form}")
    return name.strip(), value


def _kwh(site: str, text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = -1.0
    if not 0 <= found < 1e12:
        raise UserError(f"--energy {site}={text}: write kWh as a number, as in {site}=12.5")
    return found


def _released(found: Facts, folder: Path, as_json: bool) -> None:
    if as_json:
        emit({"folder": str(folder), **found.model_dump(mode="json")})
        return
    say(f"{folder}: version {found.version} of {found.run}, {found.parameters:,} parameters; "
        "its card is README.md, the hashes are in SHA256SUMS")  # fmt: skip
