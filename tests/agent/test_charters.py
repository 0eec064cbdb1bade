"""No task uses a channel with a charter before this site's operator accepted exactly that text."""

from __future__ import annotations

import getpass
import json
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from ayni.agent import charters as charters_
from ayni.agent.charters import Answer, Charters, operator
from ayni.agent.staging.errors import StagingError, Waits
from ayni.cli.frame import build
from ayni.errors import UserError
from ayni.protocol import charters as words
from ayni.protocol.attempts import AttemptState
from ayni.protocol.channels import ChannelUse, Schema, read_schema
from ayni.protocol.charters import CharterQuestion
from ayni.protocol.messages import Assignment
from tests.agent.assignments import assignment

TEXT = "# Carta\n\nLos textos se quedan; los pesos son de todos.\n"
OTHER = TEXT.replace("todos", "uno solo")
RULES: Schema = read_schema({"kinds": {"part": {}}})


def wants(*texts: str | None, attempt: str = "a1") -> Assignment:
    """An attempt whose channels c0, c1, … have these charters."""
    uses = [
        ChannelUse(
            name=f"c{n}", rules=RULES, sends=True, reads=True,
            charter=None if text is None else words.digest(text),
        )
        for n, text in enumerate(texts)
    ]  # fmt: skip
    return assignment(attempt).model_copy(update={"channels": uses})


def never(attempt: str, channel: str) -> str:
    raise AssertionError("the hub was asked for a text that is known")


def hub(text: str) -> Callable[[str, str], str]:
    return lambda attempt, channel: text


def say(here: Charters, text: str, word: str, why: str = "", project: str = "poesia") -> None:
    answer = {
        "project": project, "digest": words.digest(text), "answer": word, "by": "op", "at": 5.0,
        "why": why,
    }  # fmt: skip
    here.say(Answer.model_validate(answer))


@pytest.fixture
def here(tmp_path: Path) -> Charters:
    return Charters(tmp_path)


def test_a_channel_without_a_charter_asks_for_nothing(here: Charters) -> None:
    here.admit(wants(None, None), never)
    assert here.told() == [] and not here.folder.exists()


def test_a_task_waits_until_exactly_its_text_is_accepted(here: Charters) -> None:
    with pytest.raises(Waits, match=f"ayni site charter accept {words.digest(TEXT)[:12]}"):
        here.admit(wants(TEXT), hub(TEXT))
    assert here.text(words.digest(TEXT)) == TEXT
    say(here, OTHER, "accepted")
    say(here, TEXT, "accepted", project="another")
    with pytest.raises(Waits):
        here.admit(wants(TEXT), never)
    say(here, TEXT, "accepted")
    here.admit(wants(TEXT), never)
    with pytest.raises(Waits):  # a changed text
        here.admit(wants("x" + TEXT), hub("x" + TEXT))
    Charters(here.state).admit(wants(TEXT), never)  # another start


def test_the_hub_is_not_believed_what_a_text_is_named(here: Charters) -> None:
    say_nothing = wants(TEXT)
    for lie in (OTHER, TEXT + " ", "", "\x1b[2J" + TEXT):
        with pytest.raises(StagingError) as caught:
            here.admit(say_nothing, hub(lie))
        assert not isinstance(caught.value, Waits) and "c0" in caught.value.message
    assert here.asked() == []


def test_a_text_that_was_changed_on_the_disk_is_asked_for_again(here: Charters) -> None:
    with pytest.raises(Waits):
        here.admit(wants(TEXT), hub(TEXT))
    (here.folder / f"{words.digest(TEXT)}.md").write_text(OTHER)
    assert here.text(words.digest(TEXT)) is None
    with pytest.raises(Waits):
        here.admit(wants(TEXT), hub(TEXT))
    assert here.text(words.digest(TEXT)) == TEXT


def test_what_the_operator_refuses_goes_back_and_is_not_taken_again(here: Charters) -> None:
    with pytest.raises(Waits):
        here.admit(wants(None, TEXT), hub(TEXT))
    assert here.objection(wants(None, TEXT)) is None
    say(here, TEXT, "accepted")
    say(here, TEXT, "refused", "the licence")
    with pytest.raises(StagingError) as caught:
        here.admit(wants(None, TEXT), never)
    assert caught.value.state is AttemptState.WITHDRAWN
    no = here.objection(wants(None, TEXT))
    assert (
        no is not None and no.code == "charter" and no.message.endswith("channel c1: the licence")
    )
    say(here, TEXT, "accepted")
    here.admit(wants(None, TEXT), never)


def test_the_hub_is_told_what_was_said_of_each_text(here: Charters) -> None:
    for text in (TEXT, OTHER):
        with pytest.raises(Waits):
            here.admit(wants(text, text), hub(text))
    say(here, OTHER, "refused", "no")
    told = {one.digest: (one.project, one.state, one.why) for one in here.told()}
    assert told == {
        words.digest(TEXT): ("poesia", "asked", ""),
        words.digest(OTHER): ("poesia", "refused", "no"),
    }


def test_every_answer_stays_on_record_and_a_torn_line_is_passed_over(here: Charters) -> None:
    with pytest.raises(Waits):
        here.admit(wants(TEXT), hub(TEXT))
    say(here, TEXT, "accepted")
    answers = here.folder / "answers.jsonl"
    answers.write_text(answers.read_text() + '{"project": "poe')
    here.admit(wants(TEXT), never)
    say(here, TEXT, "refused")
    assert here.objection(wants(TEXT)) is not None
    assert len(answers.read_text().splitlines()) == 3


def test_answers_that_cannot_be_read_accept_nothing(here: Charters) -> None:
    with pytest.raises(Waits):
        here.admit(wants(TEXT), hub(TEXT))
    say(here, TEXT, "accepted")
    answers = here.folder / "answers.jsonl"
    answers.unlink()
    answers.mkdir()
    with pytest.raises(Waits):
        here.admit(wants(TEXT), never)


def test_a_hub_cannot_fill_the_disk_with_texts(
    here: Charters, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(charters_, "MOST", 3)
    for n in range(3):
        with pytest.raises(Waits):
            here.admit(wants(f"{n}"), hub(f"{n}"))
    with pytest.raises(StagingError, match="wait for this site's operator") as caught:
        here.admit(wants("more"), hub("more"))
    assert caught.value.retryable and here.text(words.digest("more")) is None
    say(here, "1", "accepted")
    with pytest.raises(Waits):
        here.admit(wants("more"), hub("more"))


# --- what the hub brings ----------------------------------------------------------------------


def question(text: str = TEXT, *channels: str, project: str = "poesia") -> CharterQuestion:
    return CharterQuestion(
        project=project, channels=channels or ("c0",), person="ana@example.mx", since=7.0, text=text
    )


def test_the_operator_answers_before_any_task_has_come(here: Charters) -> None:
    here.bring([question(TEXT, "c0", "c1"), question(OTHER, "c0")])
    here.bring([question(TEXT, "c0", "c1")])
    assert [(a.channel, a.person, a.at) for a in here.asked()] == [
        ("c0", "ana@example.mx", 7.0),
        ("c1", "ana@example.mx", 7.0),
        ("c0", "ana@example.mx", 7.0),
    ]
    assert here.waiting() == [("poesia", words.digest(TEXT)), ("poesia", words.digest(OTHER))]
    assert [(one.state, one.at) for one in here.told()] == [("asked", 7.0)] * 2
    say(here, TEXT, "accepted")
    assert here.waiting() == [("poesia", words.digest(OTHER))]
    here.admit(wants(TEXT, TEXT), never)


def test_what_cannot_be_kept_is_said_once_and_stops_nothing(
    here: Charters, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(charters_, "MOST", 1)
    for _ in range(3):
        here.bring([question("\x1b[2J"), question(TEXT), question(OTHER)])
    assert here.waiting() == [("poesia", words.digest(TEXT))]
    [line] = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert "control character" in line and "wait for this site's operator" in line


# --- as an operator types it ------------------------------------------------------------------


def run(folder: Path, *arguments: str) -> str:
    (folder / "agent.toml").write_text('hub = "http://hub"\nstate = "."')
    options = ["site", *arguments, "--config", str(folder / "agent.toml")]
    done = CliRunner().invoke(build(), options)
    if done.exception is not None:
        raise done.exception
    return done.output


def test_an_operator_reads_accepts_and_takes_it_back(here: Charters, tmp_path: Path) -> None:
    assert "no charter waits" in run(tmp_path, "charters")
    with pytest.raises(Waits):
        here.admit(wants(TEXT, TEXT), hub(TEXT))
    digest = words.digest(TEXT)
    shown = run(tmp_path, "charters")
    for part in ("poesia", "c0, c1", "gabriela@example.cl", "none yet", "    Los textos se quedan"):
        assert part in shown
    said = run(tmp_path, "charter", "accept", digest[:8].upper())
    assert said.index("    Los textos se quedan") < said.index("accepted by")
    here.admit(wants(TEXT, TEXT), never)
    assert run(tmp_path, "charters") == (
        "no charter waits for an answer\n1 answered: ayni site charters --all\n"
    )
    assert "    Los textos se quedan" in run(tmp_path, "charters", "--all")
    run(tmp_path, "charter", "refuse", digest, "--why", "left the alliance")
    with pytest.raises(StagingError, match="left the alliance"):
        here.admit(wants(TEXT, TEXT), never)
    [told] = json.loads(run(tmp_path, "charters", "--json"))["charters"]
    assert told["text"] == TEXT and told["answer"]["answer"] == "refused" and told["answer"]["by"]


def test_at_a_terminal_the_operator_is_asked_beneath_the_text(
    here: Charters, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = SimpleNamespace(stdin=SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr("ayni.agent.charters_commands.sys", terminal)
    here.bring([question(TEXT)])
    (tmp_path / "agent.toml").write_text('hub = "http://hub"\nstate = "."')
    command = ["site", "charter", "accept", words.digest(TEXT), "--config"]
    options = [*command, str(tmp_path / "agent.toml")]
    said = CliRunner().invoke(build(), options, input="n\n")
    assert said.exit_code != 0 and "    Los textos se quedan" in said.output
    assert here.waiting()
    assert CliRunner().invoke(build(), options, input="y\n").exit_code == 0
    assert not here.waiting()
    here.bring([question(OTHER)])
    run(tmp_path, "charter", "accept", words.digest(OTHER), "--yes")
    assert not here.waiting()


def test_a_digest_must_name_one_charter(here: Charters, tmp_path: Path) -> None:
    with pytest.raises(Waits):
        here.admit(wants(TEXT), hub(TEXT))
    digest = words.digest(TEXT)
    for wrong in ("ffffffffff", digest[:7], "../../../etc"):
        with pytest.raises(UserError, match="see 'ayni site charters'"):
            run(tmp_path, "charter", "accept", wrong)
    other = wants(TEXT)
    other = other.model_copy(update={"who": other.who.model_copy(update={"project": "prosa"})})
    with pytest.raises(Waits):
        here.admit(other, hub(TEXT))
    with pytest.raises(UserError, match="--project, one of poesia, prosa"):
        run(tmp_path, "charter", "accept", digest)
    run(tmp_path, "charter", "accept", digest, "--project", "prosa")
    here.admit(other, never)
    with pytest.raises(Waits):
        here.admit(wants(TEXT), never)


def test_an_operator_whom_the_machine_has_no_name_for_is_a_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found")

    monkeypatch.setattr(getpass, "getuser", nobody)
    monkeypatch.delenv("SUDO_USER", raising=False)
    assert operator() == f"user {os.getuid()}"
