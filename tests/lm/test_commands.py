"""`ayni lm corpus …` and `ayni lm tokenizer …`, one after the other as three sites and a coordinator do."""

from __future__ import annotations

import json
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from ayni.cli.frame import build
from ayni.demo.atlas.corpus import MEMBERS, languages
from ayni.errors import UserError
from ayni.lm.corpus import canaries, heldout
from ayni.lm.corpus.shards import Shards
from ayni.lm.tokenizer import model
from tests.lm.test_config import GOOD

SITES = dict(zip(MEMBERS, ("santiago", "bogota", "mexico"), strict=True))


def ayni(*arguments: object) -> Result:
    return CliRunner().invoke(build(), ["lm", *map(str, arguments)])


def said(*arguments: object) -> dict[str, Any]:
    done = ayni(*arguments, "--json")
    assert done.exit_code == 0, (done.output, done.exception)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def mistake(*arguments: object) -> str:
    done = ayni(*arguments)
    assert isinstance(done.exception, UserError), (done.output, done.exception)
    return str(done.exception)


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real passages that the demonstration has, by site: each member's own, and Spanish everywhere."""
    folder = tmp_path_factory.mktemp("texts")
    for language in languages():
        for member in MEMBERS:
            if language.member == member or language.id == "es_Latn":
                place = folder / SITES[member] / f"{language.id}.txt"
                place.parent.mkdir(exist_ok=True)
                place.write_text("\n\n".join(language.text.splitlines()))
    return folder


RULES = ("--rule", "names={language}.txt", "--rule", "split=line")


@pytest.fixture(scope="module")
def counts(texts: Path) -> list[Path]:
    files = []
    for site in SITES.values():
        path = texts / f"{site}.jsonl"
        done = ayni(
            "tokenizer", "count", texts / site, *RULES, "--threshold", 2, "--rare", "--out", path
        )
        assert done.exit_code == 0, done.output
        files.append(path)
    return files


def test_three_sites_make_one_tokenizer_and_their_own_shards(
    texts: Path, counts: list[Path], tmp_path: Path
) -> None:
    made = said("tokenizer", "train", *counts, "--size", 600, "--out", tmp_path / "tokenizer")
    again = said("tokenizer", "train", *counts[::-1], "--size", 600, "--out", tmp_path / "again")
    assert made["sha256"] == again["sha256"]
    assert made["size"] == 600
    assert made["languages"]["es"]["weight"] == 1
    for member, site in SITES.items():
        out = tmp_path / site
        packed = said(
            "corpus", "pack", texts / site, *RULES, "--tokenizer", tmp_path / "tokenizer",
            "--member", member, "--site", site, "--out", out, "--held-out", 0.2,
        )  # fmt: skip
        assert packed["tokenizer"]["sha256"] == made["sha256"]
        assert said("corpus", "verify", out) == packed
        for fold in ("train", "heldout"):
            found = Shards(out, fold)  # type: ignore[arg-type]
            assert found.origin(0).site == site
            assert len({found.language(i) for i in range(len(found))}) >= 2
    paid = said("tokenizer", "fertility", tmp_path / "tokenizer", texts / "santiago", *RULES)
    assert 1 < paid["es"]["tokens_per_word"] < 5


def test_counts_show_what_leaves_and_nothing_more(texts: Path, counts: list[Path]) -> None:
    words = "".join(path.read_text() for path in (texts / "santiago").glob("*.txt"))
    header, *lines = counts[0].read_text().splitlines()
    assert set(json.loads(header)) == {"format", "pattern", "threshold", "heldout", "languages"}
    assert lines
    for line in lines:
        language, word, count = json.loads(line)
        assert words.count(word.strip()) >= count >= 2
        assert language in json.loads(header)["languages"]


def test_rare_words_leave_only_where_somebody_says_so(texts: Path, tmp_path: Path) -> None:
    out = tmp_path / "counts.jsonl"
    told = mistake("tokenizer", "count", texts / "santiago", *RULES, "--threshold", 4, "--out", out)
    assert "add --rare where the texts are public" in told and not out.exists()
    assert said("tokenizer", "count", texts / "santiago", *RULES, "--out", out)["threshold"] == 5


def test_looking_shows_what_is_held_out_and_what_is_not_read(texts: Path) -> None:
    torn = texts / "santiago" / "es_Latn.bin.txt"
    torn.write_bytes(b"\0\0")
    try:
        found = said("corpus", "look", texts / "santiago", *RULES)
        table = ayni("corpus", "look", texts / "santiago", *RULES)
    finally:
        torn.unlink()
    assert found["not_read"]["documents"] == 1
    assert "binary" in found["not_read"]["named"]["es_Latn.bin.txt"]
    assert "arn" in found["languages"]
    assert "not read: es_Latn.bin.txt: binary" in table.stderr
    assert "HELD OUT" in table.stdout


def test_a_kept_tokenizer_is_the_checkpoints(counts: list[Path], tmp_path: Path) -> None:
    made = said("tokenizer", "train", *counts, "--size", 300, "--out", tmp_path / "a")
    kept = said("tokenizer", "keep", tmp_path / "a", "--out", tmp_path / "b")
    assert kept["sha256"] == made["sha256"]
    assert (tmp_path / "b" / model.FILE).read_bytes() == (tmp_path / "a" / model.FILE).read_bytes()


def test_tables_for_people(texts: Path, counts: list[Path], tmp_path: Path) -> None:
    counted = ayni("tokenizer", "count", texts / "bogota", *RULES, "--out", tmp_path / "c.jsonl")
    assert "OF THE WORDS" in counted.stdout
    trained = ayni("tokenizer", "train", *counts, "--size", 100_000, "--out", tmp_path / "t")
    assert "give no more than" in trained.stderr
    assert "BYTES IN santiago.jsonl" in trained.stdout
    assert "SHA-256" in trained.stdout
    assert "SHA-256" in ayni("tokenizer", "keep", tmp_path / "t", "--out", tmp_path / "k").stdout
    paid = ayni("tokenizer", "fertility", tmp_path / "t", texts / "bogota", *RULES)
    assert "TOKENS/WORD" in paid.stdout
    packed = ayni(
        "corpus", "pack", texts / "bogota", *RULES, "--tokenizer", tmp_path / "t", "--member", "CO",
        "--site", "bogota", "--out", tmp_path / "s", "--held-out", 0.01, "--canaries", "4x5",
    )  # fmt: skip
    assert "their loss cannot be measured" in packed.stderr and "zxx" not in packed.stderr
    assert canaries.load(tmp_path / "s").groups[0].times == 5
    assert "TOKENS" in ayni("corpus", "verify", tmp_path / "s").stdout


def test_mistakes_are_told_in_one_line(texts: Path, counts: list[Path], tmp_path: Path) -> None:
    site = texts / "santiago"
    assert "write KEY=VALUE" in mistake("corpus", "look", site, "--rule", "quy")
    assert "the keys are" in mistake("corpus", "look", site, "--rule", "lang=quy")
    assert "no such file or folder" in mistake("corpus", "look", tmp_path / "none")
    assert "no language" in mistake("corpus", "look", site)
    assert "no number" in mistake("tokenizer", "train", *counts, "--alpha", "x", "--out", tmp_path)
    assert "from 0 to 1" in mistake(
        "tokenizer", "train", *counts, "--alpha", "2", "--out", tmp_path
    )
    assert "No such file" in mistake("tokenizer", "fertility", tmp_path, site)
    for command in (
        ("tokenizer", "count"),
        ("corpus", "pack", "--tokenizer", "t", "--member", "CL", "--site", "a"),
    ):
        assert "among the texts" in mistake(*command, site, *RULES, "--out", site / "new")
    made = tmp_path / "made"
    said("tokenizer", "train", *counts, "--size", 300, "--out", made)
    pack = ("corpus", "pack", site, *RULES, "--tokenizer", made, "--out", tmp_path / "s")
    assert "two letters" in mistake(*pack, "--member", "Chile", "--site", "a")
    for given in ("4", "0x4", "4x-1"):
        told = mistake(*pack, "--member", "CL", "--site", "a", "--canaries", given)
        assert "write COUNTxTIMES" in told
    assert "as 'ayni sites' shows it" in mistake(
        *pack, "--member", "CL", "--site", "Santiago de Chile"
    )
    (tmp_path / "file").touch()
    assert "cannot be written" in mistake(
        "tokenizer", "train", *counts, "--size", 300, "--out", tmp_path / "file" / "in"
    )


def test_the_help_loads_no_library_of_this_part() -> None:
    code = (
        "import sys; from ayni.cli.frame import build; import typer.main; "
        "typer.main.get_command(build()); import ayni.lm.commands; "
        "print(*{n.partition('.')[0] for n in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert loaded.isdisjoint(
        {"numpy", "pyarrow", "regex", "selectolax", "tokenizers", "torch", "langcodes"}
    )


def test_the_options_have_the_defaults_of_what_they_set() -> None:
    from ayni.lm import corpus_commands, tokenizer_commands
    from ayni.lm.tokenizer import counts, weigh

    assert corpus_commands.SHARE == heldout.SHARE
    assert corpus_commands.CANARIES == canaries.LANGUAGE
    assert tokenizer_commands.THRESHOLD == counts.THRESHOLD
    assert Decimal(tokenizer_commands.ALPHA) == weigh.ALPHA
    assert tokenizer_commands.SMALLEST == model.SMALLEST


@pytest.mark.parametrize(
    "command",
    ["train", "coordinate", "status", "curves", "log", "plan", "debug", "pause", "resume"],
)
def test_every_command_of_a_run_says_what_is_wrong_with_it(command: str, tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text('run = "prueba"\n')
    if command in ("train", "debug"):
        pytest.importorskip("torch")
    assert "model: is missing" in mistake(command, path)


def test_a_run_that_nobody_coordinates_here_has_no_status(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text(GOOD)
    assert "ask where its coordinator runs" in mistake("status", path)


def test_a_dry_run_prints_the_tasks_and_sends_nothing(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    path = tmp_path / "run.toml"
    path.write_text(GOOD)
    shown = json.loads(ayni("train", path, "--dry-run", "--json").stdout)
    assert set(shown["tasks"]) == {"bogota", "cdmx"}
    assert shown["run"]["outer"]["codec"] == 1
    assert shown["plan"] == said("plan", path)
    assert not (tmp_path / "prueba").exists()  # and run.toml may still be changed
