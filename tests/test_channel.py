"""What a task imports: one file that needs nothing."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ayni import channel
from ayni.channel import Channel, Refused


@pytest.fixture
def top(tmp_path: Path) -> Path:
    for way in ("out", "in", "ask"):
        (tmp_path / "sums" / way).mkdir(parents=True)
    return tmp_path


def put(top: Path, sequence: int, blob: bytes | None = None) -> None:
    """As the agent does."""
    inside = top / "sums" / "in"
    file = f"{sequence:020}.blob"
    if blob is not None:
        (inside / file).write_bytes(blob)
    said = {
        "sequence": sequence, "kind": "k", "body": {"n": sequence}, "sender": {"site": "sur"},
        "sent": 1.0, "blob": blob and {"file": file, "size": len(blob), "sha256": ""},
    }  # fmt: skip
    (inside / f"{sequence:020}.json").write_text(json.dumps(said))


def test_it_imports_nothing_but_the_standard_library() -> None:
    for node in ast.walk(ast.parse(Path(channel.__file__).read_text())):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        for name in names:
            assert name.partition(".")[0] in sys.stdlib_module_names | {"__future__"}


def test_a_copy_of_it_works_alone(top: Path) -> None:
    (top / "ayni_channel.py").write_bytes(Path(channel.__file__).read_bytes())
    script = "from ayni_channel import Channel; Channel('sums', '.').send('k', {'n': 1})"
    done = subprocess.run(
        [sys.executable, "-I", "-c", f"import sys; sys.path.append('.'); {script}"],
        cwd=top, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    [path] = (top / "sums" / "out").iterdir()
    assert json.loads(path.read_text()) == {"kind": "k", "body": {"n": 1}, "blob": False}


def test_the_site_s_agent_may_read_what_is_sent_though_it_is_another_user(
    top: Path, tmp_path: Path
) -> None:
    mine = tmp_path / "mine"
    mine.touch(mode=0o600)
    before = os.umask(0o077)
    try:
        Channel("sums", top).send("k", {}, blob=mine, move=True)
    finally:
        os.umask(before)
    modes = {path.suffix: path.stat().st_mode & 0o777 for path in (top / "sums" / "out").iterdir()}
    assert modes == {".json": 0o644, ".blob": 0o644}


def test_a_channel_that_the_task_does_not_have_is_told(top: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no channel 'other'"):
        Channel("other", top)


def test_names_keep_the_order_in_which_messages_were_sent(top: Path) -> None:
    one, other = Channel("sums", top), Channel("sums", top)
    for n in range(20):
        (one if n % 3 else other).send("k", {"n": n})
    said = [
        json.loads((top / "sums" / "out" / f"{name}.json").read_text()) for name in one.waiting()
    ]
    assert [s["body"]["n"] for s in said] == list(range(20))


def test_a_blob_is_copied_unless_it_is_given_away(top: Path) -> None:
    file = top / "weights"
    file.write_bytes(b"weights")
    sums = Channel("sums", top)
    first = sums.send("k", blob=file)
    file.write_bytes(b"changed")
    second = sums.send("k", blob=file, move=True)
    out = top / "sums" / "out"
    assert (out / f"{first}.blob").read_bytes() == b"weights"
    assert (out / f"{second}.blob").read_bytes() == b"changed"
    assert not file.exists()


def test_what_cannot_be_json_is_told_at_once(top: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        Channel("sums", top).send("k", {"n": float("nan")})
    assert Channel("sums", top).waiting() == []


def test_messages_come_in_order_and_are_removed_when_dealt_with(top: Path) -> None:
    put(top, 5, b"five")
    put(top, 3)
    (top / "sums" / "in" / "mine.json").write_text("not a message")
    heard = []
    for message in Channel("sums", top).receive(timeout=0):
        heard.append((message.sequence, message.body["n"]))
        if message.blob:
            assert message.blob.read_bytes() == b"five"
    assert heard == [(3, 3), (5, 5)]
    assert [p.name for p in (top / "sums" / "in").iterdir()] == ["mine.json"]


def test_a_message_is_kept_until_the_next_one_is_asked_for(top: Path) -> None:
    put(top, 1)
    coming = Channel("sums", top).receive(timeout=0)
    next(coming)
    again = Channel("sums", top).receive(timeout=0)
    assert next(again).sequence == 1, "who was killed while dealing with it hears it again"


def test_kept_blobs_stay(top: Path) -> None:
    put(top, 1, b"one")
    [message] = Channel("sums", top).receive(timeout=0, keep=True)
    assert message.blob is not None and message.blob.read_bytes() == b"one"


def test_waiting_ends_when_the_site_has_taken_it_or_refused_it(top: Path) -> None:
    sums = Channel("sums", top)
    with pytest.raises(TimeoutError):
        sums.send("k", wait=0)
    [name] = sums.waiting()
    line = {"name": name, "code": "kind", "error": "there is no such kind"}
    (top / "sums" / "errors").write_text(json.dumps(line) + "\n")
    (top / "sums" / "out" / f"{name}.json").unlink()
    with pytest.raises(Refused, match="no such kind"):
        sums._until_taken(name, 0)


def test_a_blob_that_is_asked_for_and_is_not_there_is_told(top: Path) -> None:
    put(top, 2)
    sums = Channel("sums", top)
    [message] = sums.receive(timeout=0)
    with pytest.raises(TimeoutError):
        sums.fetch(message, timeout=0)
    (top / "sums" / "ask" / "2").unlink()
    with pytest.raises(Refused, match="no blob"):
        message_after = message._replace(sequence=2)
        _fetch_answered(sums, message_after, top)


def test_a_blob_that_was_asked_for_before_is_not_brought_twice(top: Path) -> None:
    put(top, 2)
    sums = Channel("sums", top)
    [message] = sums.receive(timeout=0)
    sums.ask(message)
    asked, brought = top / "sums" / "ask" / "2", top / "sums" / "in" / f"{2:020}.blob"
    assert asked.exists()
    brought.write_bytes(b"weights")
    asked.unlink()
    assert sums.fetch(message, timeout=0) == brought
    sums.ask(message)
    assert not asked.exists(), "it is there"
    brought.unlink()
    sums.ask(message)
    assert asked.exists(), "it was used, and is wanted again"


def _fetch_answered(sums: Channel, message: channel.Message, top: Path) -> None:
    """As if the agent answered at once."""
    original = Path.touch

    def touch_and_answer(self: Path, *arguments: object, **more: object) -> None:
        original(self)
        self.unlink()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "touch", touch_and_answer)
        sums.fetch(message, timeout=5)
