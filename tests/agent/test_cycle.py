"""The agent's loop, whole: a hub over HTTP on one side, the local executor on the other."""

from __future__ import annotations

from ayni.protocol.attempts import FINAL, AttemptState
from tests.agent.assignments import assignment
from tests.agent.conftest import Start
from tests.agent.fakehub import FakeHub

S = AttemptState


def ended(hub: FakeHub, *names: str) -> bool:
    return hub.wait_for(lambda: all(hub.attempts[n].state in FINAL for n in names))


def test_a_task_runs_and_its_end_is_told(hub: FakeHub, start_agent: Start) -> None:
    hub.place(assignment("a", ["sh", "-c", "echo hello; echo oh >&2"]))
    start_agent()
    assert ended(hub, "a")
    report = hub.report("a")
    assert report.state is S.COMPLETE, report
    assert [(log.stream, log.tail) for log in report.logs] == [("stdout", "hello\n"), ("stderr", "oh\n")]
    assert [c.exit_code for c in report.commands] == [0]
    assert report.usage is not None and report.usage.job == "a"
    assert report.accepted and report.started and report.ended
