"""What was committed is there after any kill; the first of a key counts."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from ayni.errors import NoRoom, UserError
from ayni.lm.outer.journal import FILE, Journal, Kept
from ayni.lm.outer.machine import Origin, begin, tick
from ayni.lm.outer.messages import Joined, Record
from ayni.lm.outer.schedule import warmed_up
from ayni.lm.outer.state import Rules, State, dump


def state() -> State:
    rules = Rules(run="r", schedule=warmed_up(100))
    return begin(rules, {"all": Origin(5, "w", "d")}, 0.0)


def record(key: str, value: int = 0) -> Record:
    return Record(key=key, what="test", at=1.0, data={"value": value})


def test_a_run_that_has_not_begun_has_no_state(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "new" / "folder")
    assert journal.state() is None and journal.cursor() == {}


def test_state_books_and_cursor_come_back(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    turn = tick(state(), 1.0, [Joined(site="a", tokens_per_step=5)])
    journal.commit(turn.state, turn.records, {"a": 7})
    journal.close()
    again = Journal(tmp_path)
    found = again.state()
    assert found is not None and dump(found) == dump(turn.state)
    assert again.cursor() == {"a": 7}
    assert [r for _, r in again.books()] == turn.records
    again.commit(found)
    assert again.cursor() == {"a": 7}


def test_the_first_of_a_key_counts(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.commit(state(), [record("x", 1), record("y", 2), record("x", 3)])
    journal.commit(state(), [record("y", 4), record("z", 5)])
    found = list(journal.books("test"))
    assert [(r.key, r.data["value"]) for _, r in found] == [("x", 1), ("y", 2), ("z", 5)]
    assert [r.key for _, r in journal.books(after=found[1][0])] == ["z"]
    assert not list(journal.books("other"))


def test_others_read_while_the_coordinator_writes(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no journal of a run"):
        Kept(tmp_path)
    assert not list(tmp_path.iterdir())
    journal = Journal(tmp_path)
    journal.commit(state(), [record("x", 1)])
    kept = Kept(tmp_path)
    journal.commit(state(), [record("y", 2)])
    assert kept.state() == state()
    assert [r.key for _, r in kept.books()] == ["x", "y"]
    journal.close()
    assert Kept(tmp_path).state() == state()
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        kept._db.execute("DELETE FROM books")


def test_one_coordinator_holds_a_run(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    with pytest.raises(UserError, match="another coordinator"):
        Journal(tmp_path)
    journal.close()
    Journal(tmp_path).close()


def test_a_write_that_fails_is_told_and_leaves_the_state_before(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    first = state()
    journal.commit(first, [record("x")], {"a": 1})
    pages = journal._db.execute("PRAGMA page_count").fetchone()[0]
    journal._db.execute(f"PRAGMA max_page_count = {pages}")
    many = [record(f"k{i}" * 50) for i in range(2000)]
    with pytest.raises(NoRoom, match="make room"):
        journal.commit(tick(first, 5.0).state, many, {"a": 2})
    found = journal.state()
    assert found is not None and dump(found) == dump(first)
    assert journal.cursor() == {"a": 1} and len(list(journal.books())) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("UPDATE memory SET release = 99", "release 99"),
        ("UPDATE memory SET state = '{}'", "damaged at"),
        ("UPDATE memory SET state = 'x'", "damaged"),
    ],
)
def test_a_journal_that_cannot_be_read_says_why(tmp_path: Path, change: str, message: str) -> None:
    journal = Journal(tmp_path)
    journal.commit(state())
    journal.close()
    with sqlite3.connect(tmp_path / FILE) as db:
        db.execute(change)
    with pytest.raises(UserError, match=message):
        Journal(tmp_path).state()


def test_what_is_no_database_is_told(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"not a database" * 100)
    with pytest.raises(UserError, match="cannot be opened"):
        Journal(tmp_path)


def test_a_folder_that_cannot_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text(json.dumps({}))
    with pytest.raises(UserError, match="cannot be used"):
        Journal(tmp_path / "file" / "folder")
