"""`ayni lm tokenizer …`: count words at a site, learn from all sites' counts, or keep a checkpoint's."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ayni.client.commands.console import Json, emit, examples, say
from ayni.errors import UserError
from ayni.lm import reading
from ayni.lm.corpus_commands import SHARE

# As the modules have them, which are not imported for `ayni --help`.
THRESHOLD = 5
ALPHA = "0.3"
SMALLEST = 260
SIZE = 32_768


def register(lm: typer.Typer) -> None:
    """Add the commands to `ayni lm`."""
    tokenizer = typer.Typer(no_args_is_help=True, help="The vocabulary that all sites share.")
    tokenizer.command(epilog=examples("ayni lm tokenizer count texts/ --out santiago.jsonl"))(count)
    tokenizer.command(
        epilog=examples(
            "ayni lm tokenizer train santiago.jsonl bogota.jsonl --size 32768 --out tokenizer/"
        )
    )(train)
    tokenizer.command(epilog=examples("ayni lm tokenizer keep checkpoint/ --out tokenizer/"))(keep)
    tokenizer.command(epilog=examples("ayni lm tokenizer fertility tokenizer/ texts/"))(fertility)
    lm.add_typer(tokenizer, name="tokenizer")


def count(
    paths: reading.Paths,
    out_: Annotated[Path, typer.Option("--out", help="The file of counts.")],
    threshold: Annotated[
        int, typer.Option(min=1, help="Only words that stand in so many documents leave.")
    ] = THRESHOLD,
    rare: Annotated[
        bool,
        typer.Option(
            "--rare",
            help=f"Let words leave that stand in fewer than {THRESHOLD} documents: of public texts only.",
        ),
    ] = False,
    rule: reading.Given = None,
    rules: reading.File = None,
    held_out: reading.Share = SHARE,
    as_json: Json = False,
) -> None:
    """Count a site's words. The file is all that leaves the site for the tokenizer; look at it before."""
    from ayni.lm.corpus.documents import Tally
    from ayni.lm.tokenizer.counts import WordCounter, read

    if threshold < THRESHOLD and not rare:
        raise UserError(
            f"--threshold: a word of fewer than {THRESHOLD} documents may be a person's name; write "
            f"{THRESHOLD} or more, or add --rare where the texts are public"
        )
    reading.apart(out_, paths)
    tally = Tally()
    found = reading.sources(paths, rule, rules)
    with WordCounter(held_out, threshold) as counter:
        with reading.documents(found, tally) as documents:
            for document in documents:
                counter.add(document)
        header = counter.write(out_)
    words = read(out_).words
    kept = {name: (len(words[name]), sum(words[name].values())) for name in header.languages}
    if as_json:
        languages = {
            name: {
                **totals.model_dump(),
                "distinct_kept": kept[name][0],
                "words_kept": kept[name][1],
            }
            for name, totals in header.languages.items()
        }
        emit({"file": str(out_), "threshold": threshold, "languages": languages})
        return
    rows = [
        (name, t.documents, t.words, kept[name][0], f"{kept[name][1] / max(1, t.words):.1%}")
        for name, t in header.languages.items()
    ]
    reading.show(("LANGUAGE", "DOCUMENTS", "WORDS", "LEAVE, DISTINCT", "OF THE WORDS"), rows)


def train(
    counts: Annotated[
        list[Path], typer.Argument(help="The sites' files of counts.", metavar="COUNTS")
    ],
    out_: Annotated[Path, typer.Option("--out", help="The folder of the tokenizer.")],
    size: Annotated[
        int, typer.Option(min=SMALLEST, max=1 << 20, help="Tokens, all in all.")
    ] = SIZE,
    alpha: Annotated[
        str, typer.Option(help="From 1 (languages by their sizes) to 0 (all alike).")
    ] = ALPHA,
    as_json: Json = False,
) -> None:
    """Learn the tokenizer from the counts of all sites: the same file on every machine."""
    from decimal import Decimal, InvalidOperation

    from ayni.lm.bars import steps
    from ayni.lm.tokenizer import bpe, model
    from ayni.lm.tokenizer.counts import read
    from ayni.lm.tokenizer.weigh import UNIT, weigh

    try:
        exponent = Decimal(alpha)
    except InvalidOperation as error:
        raise UserError(f"--alpha: {alpha!r} is no number; write one from 0 to 1") from error
    if not 0 <= exponent <= 1:
        raise UserError(f"--alpha: {alpha}; write a number from 0 to 1")
    sites = [read(path) for path in counts]
    weighed = weigh(sites, exponent)
    most = size - model.SMALLEST
    with steps("learning", most) as progress:
        merges = bpe.learn({w.encode(): n for w, n in weighed.words.items()}, most, progress)
    path = model.save(merges, out_)
    loaded = model.load(path)
    if as_json:
        languages = {
            name: {"bytes": bytes_, "weight": weighed.weights[name] / UNIT}
            for name, bytes_ in weighed.bytes.items()
        }
        emit(
            {
                "file": str(path),
                "sha256": loaded.sha256,
                "size": loaded.size,
                "languages": languages,
            }
        )
        return
    rows = [
        (
            name,
            *(site.header.languages[name].bytes if name in site.words else 0 for site in sites),
            f"{weighed.weights[name] / UNIT:.2f}",
        )
        for name in weighed.bytes
    ]
    reading.show(("LANGUAGE", *(f"BYTES IN {path.name}" for path in counts), "WEIGHT"), rows)
    if loaded.size < size:
        say(f"the counts give no more than {loaded.size} tokens")
    typer.echo(f"{path}: {loaded.size} tokens, SHA-256 {loaded.sha256}")


def keep(
    checkpoint: Annotated[
        Path, typer.Argument(help="A checkpoint's folder, or its tokenizer.json.")
    ],
    out_: Annotated[Path, typer.Option("--out", help="The folder of the tokenizer.")],
    end_token: Annotated[
        str | None, typer.Option(help="What ends a document, where the checkpoint does not say it.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Take over the tokenizer of the checkpoint that is to be continued."""
    from ayni.lm.tokenizer import model

    loaded = model.keep(checkpoint, out_, end_token)
    path = out_ / model.FILE
    if as_json:
        emit({"file": str(path), "sha256": loaded.sha256, "size": loaded.size, "end": loaded.end})
        return
    typer.echo(f"{path}: {loaded.size} tokens, SHA-256 {loaded.sha256}")


def fertility(
    tokenizer: Annotated[Path, typer.Argument(help="tokenizer.json, or its folder.")],
    paths: reading.Paths,
    rule: reading.Given = None,
    rules: reading.File = None,
    as_json: Json = False,
) -> None:
    """Show what each language pays: tokens for a word, bytes of text in a token."""
    from ayni.lm.corpus.documents import Tally
    from ayni.lm.tokenizer import model
    from ayni.lm.tokenizer.fertility import fertility

    loaded = model.load(tokenizer)
    tally = Tally()
    with reading.documents(reading.sources(paths, rule, rules), tally) as documents:
        found = fertility(loaded.tokenizer, documents)
    if as_json:
        emit(
            {
                name: {
                    "documents": one.documents,
                    "words": one.words,
                    "bytes": one.bytes,
                    "tokens": one.tokens,
                    "tokens_per_word": round(one.tokens_per_word, 4),
                    "bytes_per_token": round(one.bytes_per_token, 4),
                }
                for name, one in found.items()
            }
        )
        return
    rows = [
        (name, one.words, one.tokens, f"{one.tokens_per_word:.2f}", f"{one.bytes_per_token:.2f}")
        for name, one in found.items()
    ]
    reading.show(("LANGUAGE", "WORDS", "TOKENS", "TOKENS/WORD", "BYTES/TOKEN"), rows)
