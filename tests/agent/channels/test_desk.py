"""What a task writes goes out as its schema lists it, and what others said comes in: each once."""

from __future__ import annotations

import json
import os
import socket
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ayni.agent.channels import outbox, spool, spot
from ayni.agent.channels.spot import Later
from ayni.agent.charters import Answer, Charters
from ayni.agent.supervisor import sharing
from ayni.channel import Refused
from ayni.protocol import charters, release
from ayni.protocol.channels import Problem
from ayni.protocol.messages import DatasetUse
from ayni.signatures import Said, holds
from ayni.transfer import TransferError
from tests.agent.assignments import WHO
from tests.agent.channels.support import (
    SCHEMA,
    SIGNER,
    WRITES,
    Bench,
    Killed,
    Steps,
    incoming,
    part,
)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def aggregates(limit: int) -> release.Rule:
    use = DatasetUse(name="censo", release="aggregate", release_limit=limit)
    return release.rule_of(use)


# --- out --------------------------------------------------------------------------------------


def test_messages_go_out_in_the_order_of_their_names_and_are_removed(bench: Bench) -> None:
    for n in (3, 1, 2):
        bench.write(f"{n:03}", part(n))
    bench.send()
    assert bench.said == [1, 2, 3]
    assert bench.left() == [] and bench.beside() == []


def test_what_the_helper_sends_is_what_the_hub_has(bench: Bench) -> None:
    bench.task.send("part", {"n": 7})
    bench.task.send("delta", {"n": 8}, blob=b"weights")
    bench.send()
    assert bench.said == [7, 8]
    assert list(bench.hub.blobs.values()) == [b"weights"]
    assert bench.left() == [] and bench.beside() == []


def test_what_is_being_written_is_left_alone(bench: Bench) -> None:
    for name in (".1.json", "1.json.tmp", "1.blob", "2.part"):
        (bench.spool / "out" / name).write_text("half")
    bench.send()
    assert bench.hub.posted == [] and len(bench.left()) == 4 and bench.errors == []


def test_a_message_travels_anew_from_its_values(bench: Bench) -> None:
    bench.write("1", '{ "body":{"n":  5,"n": 6},\n\n "kind" : "part", "blob":false }   ')
    bench.send()
    [message] = bench.hub.posted
    assert message.body == {"n": 6}


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "file"),
        ("secret", "file"),
        ("[1]", "file"),
        ('{"body": {}}', "file"),
        ('{"kind": 1}', "file"),
        ('{"kind": "part", "body": {"n": 1}, "more": "secret"}', "file"),
        ('{"kind": "part", "body": {"n": 1}, "blob": "secret"}', "file"),
        ('{"kind": "part", "body": {"n": NaN}}', "file"),
        ('{"kind": "part", "body": {"n": 1, "secret": 1}}', "body"),
        ('{"kind": "part", "body": {"n": "secret"}}', "body"),
        ('{"kind": "part", "body": ' + "[" * 5000 + "]" * 5000 + "}", "file"),
        ('{"kind": "secret"}', "kind"),
        ('{"kind": "delta", "blob": false}', "blob"),
        ('{"kind": "part", "body": {"n": 1}}' + " " * (1 << 20), "file"),
        ("\ud800", "file"),
    ],
)
def test_what_is_not_listed_is_refused_and_told(bench: Bench, text: str, code: str) -> None:
    (bench.spool / "out" / "1.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    bench.write("2", part(2))
    bench.send()
    assert bench.said == [2], "the next one goes all the same"
    assert [(e["name"], e["code"]) for e in bench.errors] == [("1", code)]
    assert bench.left() == []
    assert len(bench.lines) == 1 and "message 1 was refused" in bench.lines[0]


def test_the_helper_hears_of_a_refusal(bench: Bench) -> None:
    name = bench.task.send("part", {"n": -1})
    assert bench.task.waiting() == [name]
    bench.send()
    with pytest.raises(Refused, match="n: "):
        bench.task._until_taken(name, 1.0)


def test_a_blob_that_is_too_large_never_leaves(bench: Bench) -> None:
    bench.task.send("delta", {}, blob=b"x" * 1001)
    bench.send()
    assert bench.hub.blobs == {} and bench.hub.posted == []
    assert bench.errors[0]["code"] == "blob"
    assert bench.left() == [] and bench.beside() == []


def test_a_blob_may_come_some_seconds_later_on_a_shared_disk(bench: Bench) -> None:
    bench.write("1", '{"kind": "delta", "body": {"n": 1}, "blob": true}')
    bench.write("2", part(2))
    bench.send()
    assert bench.said == [], "nor does what comes after it go first"
    (bench.spool / "out" / "1.blob").write_bytes(b"late")
    bench.send()
    assert bench.said == [1, 2]


def test_a_blob_that_never_comes_is_told(bench: Bench) -> None:
    bench.write("1", '{"kind": "delta", "body": {"n": 1}, "blob": true}')
    bench.send()
    bench.now += outbox.LAG + 1
    bench.send()
    assert bench.errors[0]["code"] == "blob" and bench.left() == []


def test_a_blob_that_changes_after_it_was_handed_over_does_not_go(bench: Bench) -> None:
    """The task may still have it open for writing."""
    path = bench.spool / "out" / "1.blob"
    with path.open("wb") as held:
        held.write(b"some")
        held.flush()
        bench.write("1", '{"kind": "delta", "body": {"n": 1}, "blob": true}')
        bench.hub.down = True
        real = bench.mover.describe

        def grow(source: Any, stop: Any = None) -> Any:
            held.write(b"more")
            held.flush()
            return real(source, stop)

        bench.mover.describe = grow  # type: ignore[method-assign]
        bench.send()
    assert bench.hub.posted == [] and bench.errors[0]["code"] == "changed"


# --- bounds -----------------------------------------------------------------------------------


def test_a_task_sends_so_much_and_no_more(bench: Bench) -> None:
    bench.schema["max_bytes"], before = 1500, bench.schema["max_bytes"]
    try:
        bench.start()
        for n in (1, 2, 3):
            bench.task.send("delta", {"n": n}, blob=bytes([n]) * 700)
        bench.task.send("part", {"n": 4})
        bench.send()
    finally:
        bench.schema["max_bytes"] = before
    assert bench.said == [1, 2, 4]
    assert bench.errors[0]["code"] == "limit"


def test_the_operators_bound_holds_over_all_channels(tmp_path: Path) -> None:
    bench = Bench(tmp_path, max_bytes=800)
    bench.book.take("a0", "t-a1", "other", "1", "k", "{}", None, 300)
    bench.task.send("delta", {"n": 1}, blob=b"x" * 700)
    bench.task.send("part", {"n": 2})
    bench.send()
    assert bench.said == [2]
    assert "this site" in bench.errors[0]["error"]


def test_an_aggregates_limit_holds_over_all_attempts(tmp_path: Path) -> None:
    rule = aggregates(1000)
    bench = Bench(tmp_path, rule=rule)
    bench.book.take("a0", "t-a1", "sums", "1", "k", "{}", None, 950)
    bench.task.send("delta", {"n": 1}, blob=b"x" * 100)
    bench.task.send("part", {"n": 2})
    bench.send()
    assert bench.said == [2]
    assert bench.errors[0]["code"] == "release"


def test_a_datasets_channels_have_a_limit_of_their_own(tmp_path: Path) -> None:
    use = DatasetUse(name="censo", release="nothing", channels=["poesia/sums"], channel_limit=100)
    bench = Bench(tmp_path, rule=release.rule_of(use))
    bench.task.send("part", {"n": 1})
    bench.task.send("delta", {"n": 2}, blob=b"x" * 100)
    bench.send()
    assert bench.said == [1]
    assert "100 bytes" in bench.errors[0]["error"]
    other = Bench(
        tmp_path / "other",
        rule=release.rule_of(use.model_copy(update={"channels": ["poesia/x*"]})),
    )
    other.task.send("part", {"n": 1})
    other.send()
    assert other.said == [] and other.errors[0]["code"] == "release"


def test_no_word_of_the_task_is_told_where_none_may_leave(tmp_path: Path) -> None:
    rule = aggregates(1000)
    bench = Bench(tmp_path, rule=rule)
    bench.write("secret", '{"kind": "part", "body": {"n": 1, "secret": 1}}')
    (bench.spool / "out" / "se\ncret").touch()
    bench.send()
    assert "secret" in bench.errors[0]["error"] + bench.errors[1]["error"]
    assert bench.lines and "cret" not in " ".join(bench.lines)


def test_the_pace_of_the_channel_is_held(tmp_path: Path) -> None:
    bench = Bench(tmp_path, schema={**SCHEMA, "rate": 2})
    for n in range(5):
        bench.task.send("part", {"n": n})
    bench.send()
    assert bench.said == [0, 1] and len(bench.left()) == 3
    bench.now += 61
    bench.send()
    assert bench.said == [0, 1, 2, 3]


def test_only_so_many_wait_while_the_hub_is_away(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "MOST_WAITING", 3)
    bench.hub.down = True
    for n in range(5):
        bench.task.send("part", {"n": n})
    for _ in range(3):
        with pytest.raises(Later):
            bench.send()
    assert len(bench.left()) == 2
    bench.hub.down = False
    bench.send()
    assert bench.said == [0, 1, 2, 3, 4]


# --- the hub's word ---------------------------------------------------------------------------


def test_a_refusal_of_the_hub_reaches_the_task(bench: Bench) -> None:
    bench.hub.problem = Problem(code="size", message="enough")
    bench.task.send("part", {"n": 1})
    bench.send()
    assert bench.errors[0]["error"] == "enough" and bench.beside() == []


def test_what_passes_is_tried_again(bench: Bench) -> None:
    bench.hub.problem = Problem(code="rate", message="wait", retryable=True)
    bench.task.send("part", {"n": 1})
    with pytest.raises(Later):
        bench.send()
    bench.hub.problem = None
    bench.send()
    assert bench.said == [1] and bench.errors == []


def test_a_full_quota_is_waited_for_and_told_once(bench: Bench) -> None:
    bench.mover.error = TransferError("the quota is full", code="quota")
    bench.task.send("delta", {"n": 1}, blob=b"x")
    for _ in range(3):
        with pytest.raises(Later):
            bench.send()
    assert len(bench.lines) == 1 and "quota" in bench.lines[0]
    bench.mover.error = None
    bench.send()
    assert bench.said == [1]


# --- signatures -------------------------------------------------------------------------------


def test_what_leaves_is_signed_by_the_site_as_it_travels(bench: Bench) -> None:
    bench.write("1", '{"kind": "part", "body": {"n": 7}}   ')
    bench.task.send("delta", {"n": 8}, blob=b"weights")
    bench.send()
    first, second = bench.hub.posted
    for message in (first, second):
        said = Said(
            project=WHO.project, channel="sums", site="norte", task="t-a1", attempt="a1",
            number=message.number, kind=message.kind, body=message.body,
            blob=message.blob.sha256 if message.blob else None,
        )  # fmt: skip
        assert message.signature and holds(said, message.signature, SIGNER.public)
    assert first.signature != second.signature


# --- the operator's word ----------------------------------------------------------------------


def test_nothing_leaves_any_more_once_the_charter_is_refused(tmp_path: Path) -> None:
    bench = Bench(tmp_path, charter=charters.digest("carta"))
    bench.write("1", part(1))
    bench.send()
    bench.hub.down = True
    bench.write("2", part(2))
    with pytest.raises(Later):
        bench.send()
    bench.hub.down = False
    (tmp_path / "charters").mkdir()
    said = {"project": WHO.project, "digest": bench.charter, "by": "op", "at": 1.0, "why": "left"}
    Charters(tmp_path).say(Answer.model_validate({**said, "answer": "refused"}))
    bench.task.send("delta", {"n": 3}, blob=b"weights")
    bench.send()
    assert bench.said == [1] and bench.hub.blobs == {}
    assert [(e["code"], "left" in e["error"]) for e in bench.errors] == 2 * [("charter", True)]
    assert bench.left() == [] and bench.beside() == []


# --- hostile tasks ----------------------------------------------------------------------------


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        here = Path.cwd()
        os.chdir(path.parent)
        try:
            one.bind(path.name)
        finally:
            os.chdir(here)


def _link(path: Path) -> None:
    path.symlink_to("/etc/passwd")


def _folder(path: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize("make", [_fifo, _socket, _link])
def test_what_is_no_file_is_neither_opened_nor_followed(
    bench: Bench, make: Callable[[Path], None]
) -> None:
    make(bench.spool / "out" / "1.json")
    bench.write("2", '{"kind": "delta", "blob": true}')
    make(bench.spool / "out" / "2.blob")
    bench.write("3", part(3))
    bench.send()
    assert bench.said == [3] and bench.hub.blobs == {}
    assert [e["name"] for e in bench.errors] == ["1", "2"]
    assert bench.left() == []


def test_a_folder_in_a_files_place_breaks_its_own_channel_only(bench: Bench) -> None:
    _folder(bench.spool / "out" / "1.json")
    bench.write("2", part(2))
    bench.send()
    assert bench.desk.spot.broken and bench.lines
    bench.send()
    assert len(bench.lines) <= 2, "it is told once"


def test_folders_that_lead_elsewhere_are_not_followed(bench: Bench, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    for way in ("out", "in"):
        (elsewhere / way).mkdir(parents=True)
    (elsewhere / "out" / "1.json").write_text(part(1))
    (bench.spool / "out").rmdir()
    (bench.spool / "out").symlink_to(elsewhere / "out")
    bench.send()
    assert bench.hub.posted == [] and bench.desk.spot.broken
    bench.start()
    (bench.spool / "in").rmdir()
    (bench.spool / "in").symlink_to(elsewhere / "in")
    bench.place(incoming(1))
    assert list((elsewhere / "in").iterdir()) == []


def test_a_whole_channel_that_is_replaced_is_not_followed(bench: Bench, tmp_path: Path) -> None:
    bench.spool.rename(tmp_path / "moved")
    bench.spool.symlink_to(tmp_path / "moved")
    bench.place(incoming(1))
    bench.send()
    assert bench.desk.spot.broken
    assert list((tmp_path / "moved" / "in").iterdir()) == []


@pytest.mark.parametrize(
    "name", ["a\nb.json", "ä.json", "-x.json", "x" * 201 + ".json", "plain", "..json.json"]
)
def test_strange_names_are_told_once_and_passed_over(bench: Bench, name: str) -> None:
    (bench.spool / "out" / name).write_text(part(1))
    bench.write("2", part(2))
    for _ in range(3):
        bench.send()
    assert bench.said == [2]
    hidden = name.startswith(".")
    assert [e["code"] for e in bench.errors] == ([] if hidden else ["name"])


def test_millions_of_files_end_the_relay_and_nothing_else(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "MOST_FILES", 10)
    monkeypatch.setattr(spot, "MOST_FILES", 10)
    for n in range(20):
        (bench.spool / "out" / f"junk{n}").touch()
    bench.send()
    assert bench.desk.spot.broken and "files wait" in bench.lines[0]


def test_the_file_of_errors_stays_small_and_is_no_way_out(bench: Bench, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("mine")
    (bench.spool / "errors").symlink_to(target)
    for n in range(1200):
        bench.write(f"{n:04}", '{"kind": "' + "x" * 80 + '"}')
    bench.send()
    assert len(bench.left()) == 200, "refusing has the channel's pace, too"
    bench.now += 61
    bench.send()
    assert target.read_text() == "mine"
    assert (bench.spool / "errors").stat().st_size <= 64 << 10
    assert bench.errors[-1]["name"] == "1199"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


messages = st.fixed_dictionaries({"kind": st.sampled_from(["part", "delta"]), "body": json_values})


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(json_values | messages)
def test_whatever_is_written_leaves_as_listed_or_not_at_all(
    tmp_path_factory: pytest.TempPathFactory, said: Any
) -> None:
    bench = Bench(tmp_path_factory.mktemp("desk"))
    bench.write("1", json.dumps(said))
    bench.send()
    for message in bench.hub.posted:
        assert message.kind == "part" and set(message.body) == {"n"}
        assert isinstance(message.body["n"], int)
    assert len(bench.hub.posted) + len(bench.errors) == 1
    assert bench.left() == []


# --- in ---------------------------------------------------------------------------------------


def test_messages_come_in_order_and_once(bench: Bench) -> None:
    bench.place(incoming(1), incoming(4), incoming(4), incoming(2))
    heard = list(bench.task.receive(timeout=0))
    assert [(m.sequence, m.body["n"]) for m in heard] == [(1, 1), (4, 4)]
    assert heard[0].sender == {"site": "sur", "task": "t9"} and heard[0].sent == 1.5
    assert list((bench.spool / "in").iterdir()) == []
    want = bench.desk.inbox.want()
    assert want is not None and want.after == 4


def test_a_blob_comes_before_its_message(bench: Bench) -> None:
    bench.hub.coming[3] = b"weights"
    bench.place(incoming(3, blob=b"weights"))
    for message in bench.task.receive(timeout=0):
        assert message.blob is not None and message.blob.read_bytes() == b"weights"
    assert list((bench.spool / "in").iterdir()) == [] and bench.beside() == []


def test_a_blob_past_its_retention_is_told_so(bench: Bench) -> None:
    bench.place(incoming(3, blob=b"weights"))
    [message] = bench.task.receive(timeout=0)
    assert message.blob is None and message.body == {"n": 3}


def test_another_blob_than_the_one_named_is_not_given(bench: Bench) -> None:
    bench.hub.coming[3] = b"other"
    with pytest.raises(Later):
        bench.place(incoming(3, blob=b"weights"))
    assert list((bench.spool / "in").iterdir()) == []


def test_a_blob_on_request_comes_when_the_task_asks(tmp_path: Path) -> None:
    schema = json.loads(json.dumps(SCHEMA))
    schema["kinds"]["delta"]["blob"]["on_request"] = True
    bench = Bench(tmp_path, schema=schema)
    bench.hub.coming[3] = b"weights"
    bench.place(incoming(3, blob=b"weights"))
    [message] = bench.task.receive(timeout=0, keep=True)
    assert message.blob is None
    for name in ("4", "7", "x", "9" * 30):
        (bench.spool / "ask" / name).touch()
    with pytest.raises(TimeoutError):
        bench.task.fetch(message, timeout=0)
    bench.desk.inbox.answer(threading.Event())
    assert (bench.spool / "in" / f"{3:020}.blob").read_bytes() == b"weights"
    assert sorted(p.name for p in (bench.spool / "ask").iterdir()) == ["9" * 30, "x"]
    assert [e["name"] for e in bench.errors] == ["4", "7"]


def test_a_task_that_takes_nothing_is_given_only_so_much(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "AHEAD", 2)
    for sequence in range(1, 6):
        bench.place(incoming(sequence))
    assert bench.desk.inbox.want() is None
    list(bench.task.receive(timeout=0))
    assert bench.desk.inbox.want() is not None


def test_what_comes_can_be_read_by_whoever_runs_the_task(bench: Bench) -> None:
    bench.place(incoming(1))
    [path] = (bench.spool / "in").iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


# --- kill -9 at every step --------------------------------------------------------------------


def until_it_is_done(
    make: Callable[[], Bench], act: Callable[[Bench], None], monkeypatch: Any
) -> int:
    """Act with a kill at the first, the second, … step, each time on a new bench, then start anew and
    act again; how many kills there were."""
    for at in range(1, 400):
        bench, steps = make(), Steps(at)
        with monkeypatch.context() as patch:
            for owner, names in WRITES:
                for name in names:
                    steps.around(owner, name, patch)
            try:
                act(bench)
            except Killed:
                pass
            else:
                return at - 1
        bench.book.close()
        bench.start()
        act(bench)
        bench.check()  # type: ignore[attr-defined]
    raise AssertionError("it never ends")


def test_everything_said_is_said_once_wherever_the_agent_is_killed(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make() -> Bench:
        bench = Bench(tmp_path_factory.mktemp("kill"))
        bench.task.send("part", {"n": 1})
        bench.task.send("delta", {"n": 2}, blob=b"two")
        bench.task.send("part", {"n": -1})
        bench.task.send("delta", {"n": 3}, blob=b"three")
        bench.task.send("part", {"n": 4})

        def check() -> None:
            assert bench.said == [1, 2, 3, 4]
            assert sorted(bench.hub.blobs.values()) == [b"three", b"two"]
            assert bench.left() == [] and bench.beside() == []
            assert {e["code"] for e in bench.errors} <= {"body"}

        bench.check = check  # type: ignore[attr-defined]
        return bench

    assert until_it_is_done(make, lambda bench: bench.send(), monkeypatch) > 20


def test_everything_heard_is_heard_once_wherever_the_agent_is_killed(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make() -> Bench:
        bench = Bench(tmp_path_factory.mktemp("kill"))
        bench.hub.coming[2] = b"two"
        heard: list[tuple[int, bytes | None]] = []

        def take() -> None:
            """The task takes what is there, at once."""
            for message in bench.task.receive(timeout=0):
                heard.append((message.sequence, message.blob and message.blob.read_bytes()))

        def check() -> None:
            assert heard == [(1, None), (2, b"two"), (3, None)]
            assert bench.beside() == []

        bench.take, bench.check = take, check  # type: ignore[attr-defined]
        return bench

    def act(bench: Bench) -> None:
        take = bench.take  # type: ignore[attr-defined]
        take()
        for message in (incoming(1), incoming(2, blob=b"two"), incoming(3)):
            want = bench.desk.inbox.want()
            assert want is not None
            if message.sequence > want.after:
                try:
                    bench.place(message)
                finally:
                    take()
        take()

    assert until_it_is_done(make, act, monkeypatch) > 12


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files to any group")
def test_a_local_user_uses_the_spool_and_cannot_reach_what_is_on_its_way(bench: Bench) -> None:
    sharing.hand_over(str(bench.folder), 54321)
    for way in ("out", "in"):
        found = (bench.spool / way).stat()
        assert found.st_gid == 54321 and found.st_mode & stat.S_IWGRP
    beside = (bench.folder / spool.BESIDE / "sums").stat()
    assert not beside.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    bench.place(incoming(1))
    bench.task.send("part", {"n": 1})
    bench.send()
    assert bench.said == [1] and len(list(bench.task.receive(timeout=0))) == 1
