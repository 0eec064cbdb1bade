"""The agent's journal: what it keeps over a restart, a kill and a month."""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ayni.agent import ballast
from ayni.agent.executors.base import CommandResult, EndReason, JobState, JobStatus, Usage
from ayni.agent.journal import FILE, Entry, Journal, look
from ayni.errors import UserError
from ayni.protocol.attempts import AttemptState
from ayni.protocol.exchange import KEEP
from ayni.protocol.messages import (
    LOG_TAIL,
    MAX_COMMANDS,
    MAX_TEXT,
    AllocationReport,
    LogReport,
)
from tests.agent.assignments import assignment, entry

ENDED = JobStatus(
    "a",
    JobState.ENDED,
    started=1.0,
    ended=2.0,
    results=(CommandResult(137, 1.0, 2.0),),
    reason=EndReason.MEMORY,
    message="over its memory",
    usage=Usage(wall=1.0, cpu=0.5, peak_memory=10),
)


def test_each_start_is_a_new_generation_of_one_incarnation(tmp_path: Path) -> None:
    first = Journal(tmp_path)
    incarnation, generation = first.incarnation, first.generation
    first.close()
    second = Journal(tmp_path)
    assert (second.incarnation, second.generation) == (incarnation, generation + 1)
    second.close()


def test_only_one_agent_holds_a_state_folder(tmp_path: Path) -> None:
    held = Journal(tmp_path)
    with pytest.raises(UserError, match="another agent"):
        Journal(tmp_path)
    held.close()
    Journal(tmp_path).close()


def test_live_attempts_come_back_whole(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    running = entry("a", AttemptState.RUNNING)
    running.doom, running.mute, running.job = AttemptState.CANCELED, True, ENDED
    ended = entry("b", AttemptState.COMPLETE)
    journal.commit([running, ended])
    journal.close()
    journal = Journal(tmp_path)
    assert list(journal.live()) == [running]
    assert journal.has("b")
    journal.close()


def test_reports_come_in_the_order_of_change_each_attempt_once(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    a, b = entry("a"), entry("b")
    journal.commit([a, b])
    a.report.state = AttemptState.RUNNING
    journal.commit([a])
    told = [(r.attempt, r.seq, r.state) for r in journal.reports(0)]
    assert told == [("b", 2, AttemptState.ACCEPTED), ("a", 3, AttemptState.RUNNING)]
    assert [r.attempt for r in journal.reports(2)] == ["a"]
    journal.close()


def loud(name: str, commands: int, letter: str = "x") -> Entry:
    """An attempt whose commands have all printed as much as a tail holds."""
    made = entry(name)
    made.report.logs = [
        LogReport(command=n, stream=stream, size=LOG_TAIL, tail=letter * LOG_TAIL)
        for n in range(commands)
        for stream in ("stdout", "stderr")
    ]
    return made


def test_a_request_has_as_many_reports_as_it_can_carry(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.commit([loud(str(n), 4) for n in range(20)])
    told = journal.reports(0)
    assert 1 < len(told) < 20
    assert sum(len(report.model_dump_json().encode()) for report in told) <= MAX_TEXT
    assert next(r.attempt for r in journal.reports(told[-1].seq)) == str(len(told))
    journal.close()


@pytest.mark.parametrize("letter", ["x", "\x01", '"'])  # as JSON 1, 6 and 2 bytes
def test_one_report_that_is_too_much_for_a_request_is_told_with_shorter_tails(
    tmp_path: Path, letter: str
) -> None:
    journal = Journal(tmp_path)
    journal.commit([loud("a", MAX_COMMANDS, letter), entry("b")])
    [told] = journal.reports(0)
    assert len(told.model_dump_json(exclude_none=True).encode()) <= MAX_TEXT
    assert {log.size for log in told.logs} == {LOG_TAIL}
    assert all(log.tail and set(log.tail) == {letter} for log in told.logs)
    assert [r.attempt for r in journal.reports(told.seq)] == ["b"]
    journal.close()


def test_what_only_the_agent_needs_is_kept_and_not_told(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    a = entry("a")
    journal.commit([a])
    a.job = replace(ENDED, reason=None)
    journal.commit(noted=[a])
    assert journal.seq == 1
    assert [e.job for e in journal.live()] == [a.job]
    journal.close()


def test_a_journal_that_went_back_counts_on_from_what_the_hub_heard(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    a = entry("a")
    journal.commit([a], at_least=100, acknowledged=100)
    assert a.report.seq == journal.seq == 101
    journal.close()
    journal = Journal(tmp_path)
    assert (journal.seq, journal.acknowledged) == (101, 100)
    journal.close()


def test_ended_attempts_are_forgotten_after_thirty_days_once_acknowledged(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    old, unheard, live = entry("old"), entry("unheard"), entry("live")
    for ended in (old, unheard):
        ended.report.state, ended.report.ended = AttemptState.COMPLETE, 1000.0
    journal.commit([old, live, unheard])
    journal.commit(acknowledged=2)
    assert journal.prune(1000.0 + KEEP - 1) == 0
    assert journal.prune(1000.0 + KEEP + 1) == 1
    assert [journal.has(name) for name in ("old", "unheard", "live")] == [False, True, True]
    journal.close()


def test_the_operator_can_look_while_the_agent_runs(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no journal"):
        look(tmp_path)
    journal = Journal(tmp_path)
    journal.commit([entry("a"), entry("b", AttemptState.COMPLETE)])
    live, last, meta = look(tmp_path, ended=5)
    assert [e.assignment for e in live] == [assignment("a")]
    assert [r.attempt for r in last] == ["b"]
    assert meta["incarnation"] == journal.incarnation
    journal.close()


def test_only_the_agents_user_reads_the_journal(tmp_path: Path) -> None:
    Journal(tmp_path / "state").close()
    assert (tmp_path / "state" / FILE).stat().st_mode & 0o077 == 0


WRITER = """
import sys
from pathlib import Path
from ayni.agent.journal import Journal
from ayni.protocol.attempts import AttemptState
from tests.agent.assignments import entry

journal = Journal(Path(sys.argv[1]))
known = []
for n in range(100_000):
    new = entry(f"{journal.generation}-{n}")
    changed = known[-3:]
    for one in changed:
        one.report.state = AttemptState.RUNNING
    known.append(new)
    journal.commit([new, *changed], acknowledged=journal.seq // 2)
    print(new.id, journal.seq, flush=True)
"""


def test_what_was_committed_survives_a_kill_at_any_instant(tmp_path: Path) -> None:
    chance = random.Random(7)
    said: dict[str, int] = {}
    for generation in range(1, 6):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        assert writer.stdout is not None
        for _ in range(chance.randrange(1, 40)):
            name, seq = writer.stdout.readline().split()
            said[name] = int(seq)
        writer.send_signal(signal.SIGKILL)
        for line in writer.stdout:  # what it committed between the last line read and its death
            if line.endswith("\n"):
                name, seq = line.split()
                said[name] = int(seq)
        writer.wait()
        writer.stdout.close()
        with sqlite3.connect(tmp_path / FILE) as db:
            assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            rows = dict(db.execute("SELECT id, seq FROM attempts"))
            assert db.execute("SELECT value FROM meta WHERE key = 'generation'").fetchone() == (
                str(generation),
            )
            newest = int(db.execute("SELECT value FROM meta WHERE key = 'seq'").fetchone()[0])
        db.close()
        assert said.keys() <= rows.keys()
        assert newest >= max(said.values())
        assert max(rows.values()) == newest, "no number is ever given twice"
        assert len(set(rows.values())) == len(rows)


def test_on_a_full_disk_the_room_kept_for_the_journal_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(tmp_path)
    assert (tmp_path / ballast.FILE).stat().st_blocks * 512 >= ballast.SIZE
    db = journal._db
    [pages] = db.execute("PRAGMA page_count").fetchone()
    let_go = journal._ballast.let_go

    def and_so_there_is_room() -> bool:
        db.execute("PRAGMA max_page_count = 100000")
        return let_go()

    monkeypatch.setattr(journal._ballast, "let_go", and_so_there_is_room)
    db.execute(f"PRAGMA max_page_count = {pages}")
    many = [entry(f"a{n}", AttemptState.RUNNING) for n in range(200)]
    journal.commit(many)
    assert not (tmp_path / ballast.FILE).exists()
    assert len(list(journal.live())) == 200
    db.execute("PRAGMA max_page_count = 1")
    monkeypatch.setattr(journal._ballast, "let_go", let_go)
    with pytest.raises(sqlite3.OperationalError, match="full"):
        journal.commit([entry(f"b{n}", AttemptState.RUNNING) for n in range(200)])
    assert len(list(journal.live())) == 200, "a commit that failed left something behind"
    journal.prune(0.0)
    assert (tmp_path / ballast.FILE).exists(), "the room is not kept again"


def test_a_journal_can_be_opened_on_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Journal(tmp_path).close()
    monkeypatch.setattr(ballast.disk, "free", lambda folder: 0)
    Journal(tmp_path).close()
    assert not (tmp_path / ballast.FILE).exists()


# --- what the scheduler's accounting says later -------------------------------------------------

GIVEN = AllocationReport(job="1000001_3", submitted=1.0, core_seconds=33.0, node_seconds=33.0)


def test_an_allocation_is_told_in_another_report_of_the_same_attempt(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.commit([entry("a", AttemptState.COMPLETE), entry("b", AttemptState.COMPLETE)])
    journal.allocate({"a": GIVEN, "not here": GIVEN})
    (report,) = journal.reports(after=2)
    assert (report.attempt, report.state, report.seq) == ("a", AttemptState.COMPLETE, 3)
    assert report.usage is not None
    assert report.usage.allocation == GIVEN
    journal.close()
    again = Journal(tmp_path)
    assert again.seq == 3
    assert [r.attempt for r in again.reports(after=0)] == ["b", "a"]
    again.close()


def test_an_allocation_that_is_known_is_not_told_again(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.commit([entry("a", AttemptState.COMPLETE)])
    journal.allocate({"a": GIVEN})
    journal.allocate({"a": GIVEN})
    assert journal.seq == 2
    journal.close()


def test_an_attempt_that_is_not_over_is_not_touched(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.commit([entry("a", AttemptState.RUNNING)])
    journal.allocate({"a": GIVEN})
    assert journal.seq == 1
    journal.close()
