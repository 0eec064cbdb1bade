"""`ayni lm corpus …`: look at texts, make shards of them, check shards."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ayni.client.commands.console import Json, emit, examples, say
from ayni.errors import UserError
from ayni.lm import reading

if TYPE_CHECKING:
    from ayni.lm.corpus.shards import Origin

SHARE = 0.05  # as ayni.lm.corpus.heldout.SHARE, which is not imported for `ayni --help`
CANARIES = "zxx"  # the language of canaries, and how many groups there may be, likewise
MAX_GROUPS = 64


def register(lm: typer.Typer) -> None:
    """Add the commands to `ayni lm`."""
    corpus = typer.Typer(no_args_is_help=True, help="Texts of a site, and the shards made of them.")
    corpus.command(
        epilog=examples(
            "ayni lm corpus look texts/", "ayni lm corpus look es.jsonl --rule fields.text=body"
        )
    )(look)
    corpus.command(
        epilog=examples(
            "ayni lm corpus pack texts/ --tokenizer tokenizer/ --member CL --site santiago --out shards/",
            "ayni lm corpus pack texts/ --tokenizer tokenizer/ --member CL --site santiago --out shards/ "
            "--canaries 16x1 --canaries 16x64 --seed 7",
            note="Cut off, it goes on where it was when it is given again.",
        )
    )(pack)
    corpus.command(epilog=examples("ayni lm corpus verify shards/"))(verify)
    lm.add_typer(corpus, name="corpus")


def look(
    paths: reading.Paths,
    rule: reading.Given = None,
    rules: reading.File = None,
    held_out: reading.Share = SHARE,
    as_json: Json = False,
) -> None:
    """Show what there is in each language, how much of it is held out, and what cannot be read."""
    from ayni.lm.corpus import heldout
    from ayni.lm.corpus.documents import Tally

    tally, held = Tally(), dict[str, int]()
    with reading.documents(reading.sources(paths, rule, rules), tally) as documents:
        for document in documents:
            part = heldout.split(document, held_out).heldout
            held[document.language] = held.get(document.language, 0) + len(part.encode())
    if as_json:
        emit(
            {
                "languages": {
                    name: {
                        "documents": tally.documents[name],
                        "bytes": tally.bytes[name],
                        "held_out_bytes": held[name],
                    }
                    for name in sorted(tally.documents)
                },
                "not_read": {"documents": tally.broken, "named": dict(tally.named)},
                "skipped": dict(tally.skipped),
            }
        )
        return
    rows = [
        (name, count, tally.bytes[name], f"{held[name] / max(1, tally.bytes[name]):.1%}")
        for name, count in sorted(tally.documents.items())
    ]
    columns = ("LANGUAGE", "DOCUMENTS", "BYTES", "HELD OUT")
    reading.show(columns, rows)


def pack(
    paths: reading.Paths,
    tokenizer: Annotated[Path, typer.Option(help="tokenizer.json, or its folder.")],
    out_: Annotated[Path, typer.Option("--out", help="The folder of the shards.")],
    member: Annotated[str, typer.Option(help="The country whose texts these are, as in ISO 3166.")],
    site: Annotated[str, typer.Option(help="The site where they are.")],
    end_token: Annotated[
        str | None, typer.Option(help="What ends a document, where the tokenizer does not say it.")
    ] = None,
    rule: reading.Given = None,
    rules: reading.File = None,
    held_out: reading.Share = SHARE,
    plant: Annotated[
        list[str] | None,
        typer.Option(
            "--canaries",
            help="Plant random sequences, to measure what is memorised: as COUNTxTIMES; may be repeated.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the canaries: the run's.")] = 0,
    as_json: Json = False,
) -> None:
    """Make shards of tokens from texts, to train on."""
    from ayni.client.progress import transfer_bar
    from ayni.lm.corpus import canaries
    from ayni.lm.corpus.pack import Packer
    from ayni.lm.tokenizer import model

    reading.apart(out_, paths)
    found = reading.sources(paths, rule, rules)
    loaded = model.load(tokenizer, end_token)
    groups, origin = _groups(plant or []), _origin(member, site)
    planted = canaries.make(groups, loaded, site=origin.site, seed=seed) if groups else None
    packer = Packer(found, out_, loaded, origin, held_out, planted=planted)
    with transfer_bar("packing", sum(s.size for s in found), shown=True) as moved:
        done = 0

        def progress(bytes_done: int) -> None:
            nonlocal done
            moved(bytes_done - done)
            done = bytes_done

        manifest = packer.run(progress)
    reading.losses(packer.tally)
    _amounts(out_, manifest, as_json)


def _groups(given: list[str]) -> list[tuple[int, int]]:
    """How many canaries, and how often each."""
    groups = []
    for text in given:
        if not (found := re.fullmatch(r"([1-9]\d{0,5})x([1-9]\d{0,5})", text)):
            raise UserError(f"--canaries {text}: write COUNTxTIMES, as in --canaries 16x64")
        groups.append((int(found[1]), int(found[2])))
    if len(groups) > MAX_GROUPS:
        raise UserError(f"--canaries: at most {MAX_GROUPS} groups; give fewer")
    return groups


def _origin(member: str, site: str) -> Origin:
    from pydantic import ValidationError

    from ayni.lm.corpus.shards import Origin

    try:
        return Origin(member=member, site=site)
    except ValidationError as error:
        remedy = {
            "member": "write the country's two letters, as in ISO 3166: CL",
            "site": "write the site's name as 'ayni sites' shows it",
        }
        field = str(error.errors()[0]["loc"][0])
        raise UserError(f"--{field}: {remedy[field]}") from error


def verify(
    folder: Annotated[Path, typer.Argument(help="A folder of shards.")], as_json: Json = False
) -> None:
    """Read all shards, and see whether they are as they were written."""
    from ayni.lm.corpus import shards

    _amounts(folder, shards.verify(folder), as_json)


def _amounts(folder: Path, manifest: Any, as_json: bool) -> None:
    if as_json:
        kept = manifest.model_dump(mode="json", exclude={"shards"})
        emit({"folder": str(folder), **kept, "shards": len(manifest.shards)})
        return
    train, held = manifest.amounts["train"], manifest.amounts["heldout"]
    rows = []
    for name in sorted({*train, *held}):
        parts = [fold.get(name) for fold in (train, held)]
        rows.append(
            (name, *(value for p in parts for value in ((p.documents, p.tokens) if p else (0, 0))))
        )
    reading.show(("LANGUAGE", "DOCUMENTS", "TOKENS", "HELD OUT", "TOKENS"), rows)
    if lacking := [row[0] for row in rows if not row[3] and row[0] != CANARIES]:
        say(f"nothing is held out of {', '.join(lacking)}: their loss cannot be measured")
    say(f"{folder}: {sum(row[2] for row in rows)} tokens in {len(manifest.shards)} shards")
