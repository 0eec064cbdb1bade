"""The books that led to a version, whatever happened later; evidence pooled over sites."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from ayni.errors import UserError
from ayni.lm.outer.journal import Journal
from ayni.lm.outer.machine import Origin, begin
from ayni.lm.outer.messages import Record
from ayni.lm.outer.schedule import warmed_up
from ayni.lm.outer.state import Rules
from ayni.lm.release.evidence import Exposure, Loss, Losses, load, pooled, save, spread
from ayni.lm.release.facts import Books
from ayni.lm.release.held import ranges
from ayni.lm.watching.record import LOSSES, History, Report


def record(what: str, key: str, **data: Any) -> Record:
    return Record(key=f"{what}/{key}", what=what, at=0.0, data={"fragment": "all", **data})


def merged(version: int, site: str, weight: float, staleness: int = 0) -> Record:
    return record(
        "merged", f"{version}/{site}", version=version, site=site, weight=weight,
        staleness=staleness, tokens=100, bytes=10, clipped=1.0, base=version - 1, core_seconds=1800,
        gpu_seconds=0,
    )  # fmt: skip


def books_of(folder: Path, version: int) -> Books:
    return Books(History.read(folder), version)


def made(version: int) -> Record:
    return record("version", str(version), version=version, step=10 * version)


def refused(place: int) -> Record:
    return record("refused", str(place), site="a", tokens=7, bytes=3, reason=f"reason {place}")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rules = Rules(run="r", schedule=warmed_up(100))
    records = [
        merged(1, "a", 0.5), merged(1, "b", 0.5), made(1),
        refused(1),
        merged(2, "a", 1.0), made(2),
        record("rolled back", "2", version=2),
        merged(4, "a", 0.25), merged(4, "b", 0.75, staleness=1), made(4),
        refused(2),
        record("evaluated", "4/a", version=4, site="a", before=3.0, after=2.0),
        record("evaluated", "4/b", version=4, site="b", before=3.0, after=None),
        record("compared", "4/a/b", version=4, site="a", without="b", loss=2.0, other=2.25),
        record("compared", "4/c/b", version=4, site="c", without="b", loss=2.0, other=2.0),
        record("member", "b/PE", site="b", member="PE"),
        merged(5, "b", 1.0), made(5),
        refused(3),
    ]  # fmt: skip
    journal = Journal(tmp_path)
    journal.commit(begin(rules, {"all": Origin(5, "w", "d")}, 0.0), records)
    journal.close()
    return tmp_path


def test_the_books_of_a_version_end_where_the_next_begins(folder: Path) -> None:
    books = books_of(folder, 4)
    assert (books.rounds, books.rolled_back) == (2, 1)
    a, b = books.tallies["a"], books.tallies["b"]
    assert (a.merged, a.revoked, a.refused, a.tokens) == (2, 1, 2, 200)
    assert (b.merged, b.late) == (2, 1)
    assert sum(a.weights.values()) == 0.75 and books.heldout == {"a": 2.0}
    assert books.effects == {"b": 0.125} and books.members == {"b": "PE"}
    assert books_of(folder, 2).effects == {}


def test_a_version_that_was_rolled_back_later_has_what_was_merged_into_it(folder: Path) -> None:
    books = books_of(folder, 2)
    assert (books.rounds, books.rolled_back, books.tallies["a"].merged) == (2, 0, 2)
    assert books_of(folder, 3).rolled_back == 1  # the weights of 1, brought back


def test_training_losses_are_those_of_the_last_round_before(folder: Path) -> None:
    reports = [Report("a", base, 0.0, {"es": 5.0 - base}, {"es": 1}, 1.0) for base in range(5)]
    (folder / LOSSES).write_text("".join(f"{one.to_json()}\n" for one in reports))
    assert books_of(folder, 4).losses == {"a": {"es": 2.0}}


def losses(site: str, **languages: tuple[float, int]) -> Losses:
    known = {name: Loss(loss=loss, tokens=tokens) for name, (loss, tokens) in languages.items()}
    return Losses(weights="a" * 64, tokenizer="b" * 64, sites=(site,), length=8, languages=known)


def test_losses_of_several_sites_are_pooled_by_their_tokens() -> None:
    found = pooled([losses("x", es=(2.0, 30)), losses("y", es=(4.0, 10), quy=(1.0, 1))])
    assert found == {"es": Loss(loss=2.5, tokens=40), "quy": Loss(loss=1.0, tokens=1)}
    known = Loss(loss=math.log(2), tokens=8, bytes=2)
    assert known.bits == pytest.approx(4) and found["es"].bits is None
    with pytest.raises(UserError, match="x are given twice"):
        pooled([losses("x", es=(2.0, 3))] * 2)
    other = losses("y", es=(2.0, 3)).model_copy(update={"weights": "c" * 64})
    with pytest.raises(UserError, match="are of different models"):
        pooled([losses("x", es=(2.0, 3)), other])


def test_a_file_from_elsewhere_is_read_strictly(tmp_path: Path) -> None:
    path = tmp_path / "losses.json"
    good = losses("x", es=(2.0, 30))
    save(good, path)
    assert load(Losses, path) == good
    plain = good.model_dump(mode="json")
    faults = {
        "languages.es.loss": {"languages": {"es": {"loss": -1.0, "tokens": 3}}},
        "sites.0": {"sites": ["../x"]},
        "note": {"note": "text of a site"},
    }
    for where, fault in faults.items():
        path.write_text(json.dumps({**plain, **fault}))
        with pytest.raises(UserError, match=f"{where}: .*name what 'ayni lm evaluate' wrote"):
            load(Losses, path)
    path.write_text(json.dumps(plain))
    with pytest.raises(UserError, match="name what 'ayni lm exposure' wrote"):
        load(Exposure, path)
    path.write_bytes(b" " * (1 << 20) + b"{}")
    with pytest.raises(UserError, match="larger than"):
        load(Losses, path)
    with pytest.raises(UserError, match="name a file"):
        load(Losses, tmp_path / "none")


def test_a_spread_says_middle_mean_and_most() -> None:
    found = spread([1.0, 5.0, 3.0, 3.0])
    assert (found.count, found.median, found.mean, found.most) == (4, 3.0, 3.0, 5.0)


def test_numbers_are_read_as_ranges() -> None:
    assert ranges([]) == "none"
    assert ranges([4, 0, 5, 6, 9]) == "0, 4–6, 9"
