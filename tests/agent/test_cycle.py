"""The agent's loop, whole: a hub over HTTP on one side, the local executor on the other."""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Collection
from pathlib import Path
from types import FunctionType, ModuleType

import pytest

from ayni.agent.charters import Charters
from ayni.agent.executors.local import LocalExecutor
from ayni.agent.journal import Journal, look
from ayni.agent.staging.folders import Folders
from ayni.protocol.attempts import FINAL, AttemptState
from ayni.protocol.charters import CharterQuestion, digest
from tests.agent.assignments import WHO, assignment
from tests.agent.conftest import Start
from tests.agent.fakehub import FakeHub

S = AttemptState
SLEEP = ["sleep", "600"]


def ended(hub: FakeHub, *names: str) -> bool:
    return hub.wait_for(lambda: all(hub.attempts[n].state in FINAL for n in names))


def running(hub: FakeHub, *names: str) -> bool:
    return hub.wait_for(lambda: all(hub.attempts[n].state is S.RUNNING for n in names))


def test_a_task_runs_and_its_end_is_told(hub: FakeHub, start_agent: Start) -> None:
    hub.place(assignment("a", ["sh", "-c", "echo hello; echo oh >&2"]))
    start_agent()
    assert ended(hub, "a")
    report = hub.report("a")
    assert report.state is S.COMPLETE, report
    assert [(log.stream, log.tail) for log in report.logs] == [
        ("stdout", "hello\n"),
        ("stderr", "oh\n"),
    ]
    assert [c.exit_code for c in report.commands] == [0]
    assert report.usage is not None and report.usage.job == "a"
    assert report.accepted and report.started and report.ended


def test_a_command_that_fails_is_the_tasks_own_fault(hub: FakeHub, start_agent: Start) -> None:
    hub.place(assignment("a", ["sh", "-c", "exit 7"]))
    start_agent()
    assert ended(hub, "a")
    report = hub.report("a")
    assert report.state is S.EXECUTOR_ERROR
    assert report.reason is not None and report.reason.parameters["exit_code"] == 7


def test_what_the_policy_refuses_never_starts(hub: FakeHub, start_agent: Start) -> None:
    hub.place(
        assignment("a", resources={"backend_parameters": {"network": "true"}}),
        assignment("b", inputs=[{"url": "https://inner.example/x", "path": "/x"}]),
    )
    agent = start_agent("[policy]\nnetwork = false")
    assert ended(hub, "a", "b")
    for name, code in (("a", "network"), ("b", "https")):
        assert hub.report(name).state is S.REFUSED
        reason = hub.report(name).reason
        assert reason is not None and reason.code == code
    assert Folders(agent.config.work_folder).attempts() == []


def test_a_charter_that_waits_for_an_answer_is_learned_in_the_exchange(
    hub: FakeHub, start_agent: Start
) -> None:
    text = "# Carta\n"
    hub.charters = [
        CharterQuestion(project="p", channels=["up"], person="ana@x.mx", since=1.0, text=text)
    ]
    agent = start_agent()

    def told() -> list[tuple[str, str, str]]:
        known = hub.site_status.charters if hub.site_status else None
        return [(one.project, one.digest, one.state) for one in known or ()]

    assert hub.wait_for(lambda: told() == [("p", digest(text), "asked")])
    assert Charters(agent.config.state).text(digest(text)) == text


def test_a_closed_site_gives_tasks_back_without_a_refusal(hub: FakeHub, start_agent: Start) -> None:
    hub.place(assignment("a"))
    start_agent("[policy]\nhours = []")
    assert ended(hub, "a")
    assert hub.report("a").state is S.WITHDRAWN


def test_no_more_tasks_are_taken_than_the_policy_says(hub: FakeHub, start_agent: Start) -> None:
    hub.place(assignment("a"), assignment("b"))
    start_agent("[policy]\nmax_tasks = 1")
    assert ended(hub, "a", "b")
    assert set(hub.states().values()) == {S.WITHDRAWN}


def test_the_offer_is_told(hub: FakeHub, start_agent: Start) -> None:
    start_agent('[executor]\ncores = 3\nmemory = "2GiB"\n[policy]\nmax_walltime = "1h"')
    assert hub.wait_for(lambda: hub.site_status is not None and hub.site_status.partitions)
    status = hub.site_status
    assert status is not None
    [partition] = status.partitions
    assert (partition.cores, partition.memory, partition.max_walltime) == (3, 2 << 30, 3600)
    assert partition.depth == 3
    assert status.sandbox in ("unshare", "bubblewrap", "none")


def test_a_cancelled_task_dies(hub: FakeHub, start_agent: Start) -> None:
    hub.place(assignment("a", SLEEP))
    start_agent()
    assert running(hub, "a")
    hub.order("a", cancel=True)
    assert ended(hub, "a")
    assert hub.report("a").state is S.CANCELED
    assert hub.report("a").usage is not None


def test_what_waits_is_given_back_and_what_runs_is_kept(hub: FakeHub, start_agent: Start) -> None:
    hub.place(assignment("a", SLEEP))
    start_agent("[executor]\ncores = 1")
    assert running(hub, "a")
    hub.place(assignment("b", SLEEP))
    assert hub.wait_for(lambda: hub.attempts["b"].state is S.PENDING)
    hub.order("a", withdraw=True)
    hub.order("b", withdraw=True)
    assert ended(hub, "b")
    assert hub.report("b").state is S.WITHDRAWN
    assert hub.attempts["a"].state is S.RUNNING
    hub.order("a", cancel=True)
    assert ended(hub, "a")


def test_a_task_that_the_hub_does_not_know_is_killed_and_not_spoken_of(
    hub: FakeHub, start_agent: Start
) -> None:
    hub.place(assignment("a", ["sh", "-c", "echo secret; exec sleep 600"]))
    agent = start_agent()
    assert running(hub, "a")
    with hub.changed:
        del hub.attempts["a"]
        hub.epoch = "restored"
        hub.changed.notify_all()
    hub.place(assignment("b"))  # something to say, so that the new epoch is heard
    assert ended(hub, "b")
    assert hub.wait_for(lambda: "a" not in agent.cycle.work.entries)
    agent.stop()
    _, last, _ = look(agent.config.state, ended=9)
    [report] = [r for r in last if r.attempt == "a"]
    assert report.state is S.CANCELED
    assert report.logs == []


def test_running_tasks_survive_a_restart_of_the_agent(hub: FakeHub, start_agent: Start) -> None:
    gate = ["sh", "-c", "while [ ! -e /data/go ]; do sleep 0.05; done; echo done"]
    hub.place(assignment("a", gate, volumes=["/data"]), assignment("b", SLEEP))
    agent = start_agent()
    assert running(hub, "a", "b")
    start_agent()
    (agent.config.work_folder / "a/root/data/go").touch()
    assert ended(hub, "a")
    assert hub.report("a").state is S.COMPLETE
    assert hub.report("a").logs[0].tail == "done\n"
    hub.order("b", cancel=True)
    assert ended(hub, "b")
    assert hub.illegal == []


def test_a_task_that_ended_while_the_agent_was_down_is_told(
    hub: FakeHub, start_agent: Start
) -> None:
    hub.place(assignment("a", SLEEP))
    agent = start_agent()
    assert running(hub, "a")
    agent.stop()
    agent.cycle.executor.cancel(["a"])  # somebody at the site ended it meanwhile
    start_agent()
    assert ended(hub, "a")
    report = hub.report("a")
    assert report.state is S.SYSTEM_ERROR
    assert report.reason is not None and report.reason.code == "canceled_at_site"


def test_a_lost_reply_changes_nothing(hub: FakeHub, start_agent: Start) -> None:
    hub.lose_replies = 2
    names = [f"t{n}" for n in range(5)]
    hub.place(*(assignment(name) for name in names))
    start_agent()
    assert ended(hub, *names)
    assert set(hub.states().values()) == {S.COMPLETE}
    assert hub.illegal == []


def test_a_hub_that_is_down_loses_nothing(hub: FakeHub, start_agent: Start) -> None:
    hub.place(assignment("a", ["sh", "-c", "sleep 0.3; echo x"]))
    start_agent()
    assert hub.wait_for(lambda: hub.attempts["a"].state is not S.ASSIGNED)
    with hub.changed:
        hub.answer_with, before = 503, hub.requests
        hub.changed.notify_all()
    assert hub.wait_for(lambda: hub.requests > before + 1)
    with hub.changed:
        hub.answer_with = 0
    assert ended(hub, "a")
    assert hub.report("a").state is S.COMPLETE


def test_an_agent_that_is_fenced_stops(hub: FakeHub, start_agent: Start) -> None:
    agent = start_agent()
    assert hub.wait_for(lambda: hub.site_status is not None)
    with hub.changed:
        hub.memory = type(hub.memory)("another-journal", 1, "s", 1, 0)
        hub.epoch = "e1"
    hub.place(assignment("x"))
    assert agent.join(30)
    assert "register" in agent.fenced


def test_many_small_tasks_all_end_and_leave_no_folder(hub: FakeHub, start_agent: Start) -> None:
    names = [f"t{n}" for n in range(60)]
    hub.place(*(assignment(name, ["true"]) for name in names))
    agent = start_agent()
    assert ended(hub, *names)
    assert set(hub.states().values()) == {S.COMPLETE}
    agent.stop()
    assert Folders(agent.config.work_folder).attempts() == []
    assert agent.cycle.work.entries == {}


def test_what_is_over_leaves_nothing_in_the_agents_memory(hub: FakeHub, start_agent: Start) -> None:
    log = ["sh", "-c", "echo seen; exec sleep 600"]
    hub.place(
        assignment("lot-good", ["true"]),
        assignment("lot-failed", ["false"]),
        assignment("lot-refused", resources={"backend_parameters": {"network": "true"}}),
        assignment("lot-unstaged", inputs=[{"url": "ayni://andes/none/x", "path": "/x"}]),
        assignment("lot-cancelled", log),
        assignment("lot-unknown", SLEEP),
        assignment("lot-withdrawn", SLEEP),
    )
    agent = start_agent("[executor]\ncores = 2\n[policy]\nnetwork = false")
    assert running(hub, "lot-cancelled", "lot-unknown")
    hub.order("lot-cancelled", watched=True)
    assert hub.wait_for(lambda: bool(hub.report("lot-cancelled").logs))
    assert "lot-cancelled" in held(agent.cycle, hub.attempts), "this is how the rest is seen"
    hub.order("lot-withdrawn", withdraw=True)
    hub.order("lot-cancelled", cancel=True)
    assert ended(hub, *set(hub.attempts) - {"lot-unknown"})
    names = [*hub.attempts]
    with hub.changed:
        del hub.attempts["lot-unknown"]
        hub.epoch = "restored"
        hub.changed.notify_all()
    hub.place(assignment("later", ["true"]))
    assert ended(hub, "later")
    until = time.monotonic() + 30
    while (left := held(agent.cycle, names)) and time.monotonic() < until:
        time.sleep(0.1)
    assert left == set()


def held(root: object, names: Collection[str]) -> set[str]:
    """Those of the names that something within reach of an object holds."""
    found: set[str] = set()
    todo, seen = [root], {id(root)}
    while todo:
        holder = todo.pop()
        keys = list(holder) if isinstance(holder, dict) else []  # the collector passes over texts
        for one in [*keys, *gc.get_referents(holder)]:
            if isinstance(one, str):
                found |= {one} & set(names)
            elif id(one) not in seen and not isinstance(one, type | ModuleType | FunctionType):
                seen.add(id(one))
                todo.append(one)
    return found


def test_an_executor_that_is_not_idle_is_polled_without_a_task_in_hand(
    hub: FakeHub, start_agent: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(LocalExecutor, "is_idle", lambda executor: len(asked) > 2)
    monkeypatch.setattr(LocalExecutor, "poll", lambda executor: asked.append(1) or ())
    start_agent()
    assert hub.wait_for(lambda: len(asked) == 3)


def test_logs_are_seen_while_somebody_watches(hub: FakeHub, start_agent: Start) -> None:
    hub.place(assignment("a", ["sh", "-c", "echo first; exec sleep 600"]))
    start_agent()
    assert running(hub, "a")
    assert hub.report("a").logs == []
    hub.order("a", watched=True)
    assert hub.wait_for(lambda: bool(hub.report("a").logs))
    assert hub.report("a").logs[0].tail == "first\n"
    hub.order("a", cancel=True)
    assert ended(hub, "a")


def test_a_journal_that_went_back_is_heard_again(hub: FakeHub, start_agent: Start) -> None:
    hub.place(assignment("a", SLEEP))
    agent = start_agent()
    assert running(hub, "a")
    agent.stop()
    with hub.changed:  # as if the hub had heard more than this journal remembers
        hub.memory = type(hub.memory)(hub.memory.incarnation, 1, hub.memory.session, 1, 1000)
        hub.attempts["a"].seq = 900
    start_agent()
    hub.order("a", cancel=True)
    assert ended(hub, "a")
    assert hub.report("a").seq > 1000


def test_the_operator_sees_for_whom_each_task_runs(hub: FakeHub, start_agent: Start) -> None:
    from ayni.agent import status

    hub.place(assignment("a", SLEEP, name="sonetos"))
    agent = start_agent()
    assert running(hub, "a")
    found = status.gather(agent.config)
    [line] = found["attempts"]
    for key in ("email", "institution", "project", "member"):
        assert line[key] == getattr(WHO, key)
    assert (line["person"], line["name"], line["state"]) == (WHO.name, "sonetos", "running")
    spec = json.loads((agent.config.executor_folder / "jobs/a.json").read_text())
    assert WHO.email in spec["owner"]
    hub.order("a", cancel=True)
    assert ended(hub, "a")


def test_a_folder_that_nobody_answers_for_goes(hub: FakeHub, start_agent: Start) -> None:
    agent = start_agent()
    agent.stop()
    stray = agent.config.work_folder / "stray"
    (stray / "root").mkdir(parents=True)
    start_agent()
    hub.place(assignment("a"))
    assert ended(hub, "a")
    assert not stray.exists()


def test_a_second_agent_on_the_same_state_folder_is_refused(
    hub: FakeHub, start_agent: Start
) -> None:
    import pytest

    from ayni.errors import UserError

    agent = start_agent()
    with pytest.raises(UserError, match="another agent"):
        Journal(Path(agent.config.state))
