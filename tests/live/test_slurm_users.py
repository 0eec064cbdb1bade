"""An agent that is no root runs projects' tasks as the site's own users: by sudo, and by the helper.

The agent is a process of user `ayni`, with a hub of the tests; ana's project and luis's have accounts of
their own on a real cluster.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import signal
import stat
import subprocess
import threading
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from ayni.agent import config, identity
from ayni.protocol.attempts import FINAL, AttemptState
from ayni.protocol.messages import Assignment
from tests.agent.assignments import assignment
from tests.agent.executors.slurm.pooled import until
from tests.agent.fakehub import KEY, FakeHub
from tests.live.conftest import SLURM
from tests.live.test_slurm import PYTHON, admin, being
from tests.live.users import (
    AGENT,
    ANA,
    CLUSTER,
    LUIS,
    USERS,
    agents_environment,
    configuration,
    installed_helper,
    shared_folder,
)

pytestmark = [pytest.mark.live, pytest.mark.needs("slurm", "sudo")]

S = AttemptState


@pytest.fixture(scope="module")
def clusters() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(SLURM.read_text())
    return found


@pytest.fixture(scope="module")
def shared(clusters: dict[str, Any]) -> Iterator[Path]:
    with shared_folder(clusters) as folder:
        yield folder


@pytest.fixture(scope="module")
def program(clusters: dict[str, Any], shared: Path) -> Iterator[Path]:
    with installed_helper(clusters, shared) as found:
        yield found


class Store:
    """Takes what is PUT, and serves `pages`."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.pages: dict[str, bytes] = {}
        files, pages = self.files, self.pages

        class Handler(BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                files[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Length", str(len(pages[self.path])))
                self.end_headers()
                self.wfile.write(pages[self.path])

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()


class Agent:
    """`ayni site run`, as the agent's user."""

    def __init__(self, shared: Path, program: Path, conf: str) -> None:
        self.hub, self.store = FakeHub(), Store()
        self.shared = shared
        self.path = shared / "agent.toml"
        self.name = uuid.uuid4().hex[:6]
        opened = f'https.private_hosts = ["{self.store.host}"]\n'
        self.text = opened + configuration(self.hub.url, shared, program, conf)
        with being(AGENT):
            self.path.write_text(self.text)
            self.config = config.load(self.path)
            identity.save(self.config, "andes", KEY)
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        words = [PYTHON, "-m", "ayni", "site", "run", "--config", str(self.path)]
        user = pwd.getpwnam(AGENT)
        with (self.shared / "agent.log").open("ab") as log:
            self.process = subprocess.Popen(
                words, env=agents_environment(), stderr=log, cwd="/", user=user.pw_uid, group=user.pw_gid,
                extra_groups=os.getgrouplist(AGENT, user.pw_gid), umask=0o022,
            )  # fmt: skip

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def restart(self, extra: str) -> None:
        """Stop it in order, and go on with more in its configuration."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)
        with being(AGENT):
            self.path.write_text(extra + self.text)
        self.start()

    def stop(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)
        self.hub.close()
        self.store.server.shutdown()
        self.store.server.server_close()

    # --- tasks

    def task(self, project: str, command: str, **task: Any) -> Assignment:
        attempt = f"{self.name}-{len(self.hub.attempts)}"
        found = assignment(attempt, ["sh", "-c", command], **task)
        who = found.who.model_copy(update={"project": project})
        placed = found.model_copy(update={"who": who, "partition": "main"})
        self.hub.place(placed)
        return placed

    def output(self, path: str) -> dict[str, str]:
        return {"path": path, "url": f"http://{self.store.host}{path}"}

    def folder(self, task: Assignment) -> Path:
        return self.shared / "work" / task.attempt

    def ends(self, *tasks: Assignment) -> list[AttemptState]:
        placed = [self.hub.attempts[task.attempt] for task in tasks]
        assert self.hub.wait_for(lambda: all(p.state in FINAL for p in placed), 120), self.log()
        return [p.state for p in placed]

    def said(self, task: Assignment) -> str:
        return "".join(log.tail for log in self.hub.report(task.attempt).logs)

    def log(self) -> str:
        return (self.shared / "agent.log").read_text()[-3000:]


@pytest.fixture(scope="module")
def agent(shared: Path, program: Path, clusters: dict[str, Any]) -> Iterator[Agent]:
    """One for all of these tests: each gives it tasks of its own."""
    found = Agent(shared, program, clusters["clusters"][CLUSTER]["conf"])
    yield found
    for attempt in list(found.hub.attempts):
        found.hub.order(attempt, cancel=True)
    with contextlib.suppress(AssertionError):
        until(lambda: all(p.state in FINAL for p in found.hub.attempts.values()))
    found.stop()
    for user in USERS.values():
        admin(clusters, CLUSTER, "scancel", "-u", user)


def test_two_projects_run_as_two_users_with_two_accounts(agent, clusters):
    begin = admin(clusters, CLUSTER, "date", "+%Y-%m-%dT%H:%M:%S")
    tasks = {
        project: agent.task(
            project,
            f"id -u; cat /data/in; cp /data/in /data/out-{project}; umask 077; echo x > /deep/x",
            inputs=[{"path": "/data/in", "content": f"words of {project}\n"}],
            outputs=[agent.output(f"/data/out-{project}"), agent.output("/deep/x")],
        )
        for project in USERS
    }
    assert agent.ends(*tasks.values()) == [S.COMPLETE, S.COMPLETE], agent.log()
    for project, task in tasks.items():
        assert agent.said(task) == f"1000\nwords of {project}\n"
        assert agent.store.files[f"/data/out-{project}"] == f"words of {project}\n".encode()
    assert agent.store.files["/deep/x"] == b"x\n"

    def booked() -> bool:
        words = ("sacct", "-a", "-X", "-n", "-P", "-S", begin, "-o", "User,Account,QOS,JobName")
        lines = admin(clusters, CLUSTER, *words).splitlines()
        found = {line.rpartition("|")[0] for line in lines if "|ayni-" in line}
        return {f"{ANA}|fisica|small", f"{LUIS}|lenguas|normal"} <= found

    until(booked)
    until(lambda: not any(agent.folder(task).exists() for task in tasks.values()))


def test_the_files_are_the_user_s_and_nobody_else_reads_them(agent):
    tasks = {p: agent.task(p, "echo secret > /mine; sleep 600") for p in USERS}
    files = {p: agent.folder(task) / "root" / "mine" for p, task in tasks.items()}
    until(lambda: all(path.exists() for path in files.values()))
    for project, path in files.items():
        assert path.owner() == USERS[project]
        folder = agent.folder(tasks[project])
        assert (folder.owner(), folder.group()) == (AGENT, USERS[project])
        other = next(user for user in USERS.values() if user != USERS[project])
        state = agent.shared / "executor" / USERS[project]
        with being(other):
            for closed in (folder / "root", state / "jobs", agent.shared / "work", state):
                with pytest.raises(PermissionError):
                    list(closed.iterdir())
            with pytest.raises(PermissionError):
                path.read_text()
        with being(USERS[project]):
            for kept in ("root", "logs"):  # what the agent will read by name
                with pytest.raises(PermissionError):
                    (folder / kept).rename(folder / "moved")
            with pytest.raises(PermissionError):
                (state / "jobs" / "x").touch()
            assert path.read_text() == "secret\n"
    for task in tasks.values():
        agent.hub.order(task.attempt, cancel=True)
    assert agent.ends(*tasks.values()) == [S.CANCELED, S.CANCELED]


def test_what_is_staged_for_a_task_is_its_user_s_own(agent):
    """Content, what is fetched, and the folders of outputs: made by the helper, written by the agent."""
    agent.store.pages["/maize.csv"] = b"1,2\n"
    tasks = {
        project: agent.task(
            project,
            "chmod 600 /data/in && touch -d 2001-01-01 /web/maize.csv && "
            "echo more >> /data/in && cp /data/in /deep/out/x && sleep 600",
            inputs=[
                {"path": "/data/in", "content": "words\n"},
                {"path": "/web/maize.csv", "url": f"http://{agent.store.host}/maize.csv"},
            ],
            outputs=[agent.output("/deep/out/x")],
        )
        for project in USERS
    }
    for project, task in tasks.items():
        root = agent.folder(task) / "root"
        until(lambda made=root / "deep/out/x": made.exists())  # the task could change what it got
        for path in ("data", "data/in", "web", "web/maize.csv", "deep", "deep/out", "deep/out/x"):
            assert (root / path).owner() == USERS[project], path
        with being(USERS[project]):
            assert (root / "data/in").read_text() == "words\nmore\n"
            assert (root / "web/maize.csv").read_bytes() == b"1,2\n"
        agent.hub.order(task.attempt, cancel=True)
    assert agent.ends(*tasks.values()) == [S.CANCELED, S.CANCELED], agent.log()
    until(lambda: not any(agent.folder(task).exists() for task in tasks.values()))


def test_an_agent_that_is_killed_finds_its_users_tasks_again(agent):
    waiting = "while [ ! -e /go ]; do sleep 0.1; done; echo went"
    tasks = [agent.task(project, waiting) for project in USERS]
    until(lambda: all((agent.folder(task) / "claim").is_symlink() for task in tasks))
    agent.kill()
    agent.start()
    for task, user in zip(tasks, USERS.values(), strict=True):
        with being(user):
            (agent.folder(task) / "root" / "go").touch()
    assert agent.ends(*tasks) == [S.COMPLETE, S.COMPLETE], agent.log()
    assert [agent.said(task) for task in tasks] == ["went\n", "went\n"]


def test_a_task_over_two_nodes_runs_as_its_user(agent):
    wide = {"nodes": "2", "network": "true"}
    task = agent.task(
        "lenguas",
        "echo $SLURM_PROCID > /work/$SLURM_PROCID; echo $SLURM_PROCID",
        resources={"backend_parameters": wide},
        outputs=[agent.output("/work/0"), agent.output("/work/1")],
    )
    assert agent.ends(task) == [S.COMPLETE], agent.log()
    assert sorted(agent.said(task).split()) == ["0", "1"]
    assert (agent.store.files["/work/0"], agent.store.files["/work/1"]) == (b"0\n", b"1\n")


def test_a_batch_job_that_waits_is_withdrawn_as_its_user(agent, clusters):
    runs = [agent.task("fisica", "sleep 600") for _ in range(2)]  # of two cores that she may have
    until(lambda: all((agent.folder(task) / "claim").is_symlink() for task in runs))
    waits = agent.task("fisica", "true")
    until(lambda: waiting(clusters))
    agent.hub.order(waits.attempt, cancel=True)
    assert agent.ends(waits) == [S.CANCELED]
    until(lambda: not waiting(clusters))
    for task in runs:
        agent.hub.order(task.attempt, cancel=True)
    assert agent.ends(*runs) == [S.CANCELED, S.CANCELED]


def waiting(clusters: dict[str, Any]) -> list[str]:
    return admin(clusters, CLUSTER, "squeue", "-h", "-u", ANA, "-t", "PD", "-o", "%i").splitlines()


def test_what_a_killed_task_locked_is_removed_all_the_same(agent, clusters):
    task = agent.task(
        "fisica", "mkdir -p /a/b; touch /a/b/c; chmod 0 /a/b; chmod 500 /a; sleep 600"
    )
    locked = agent.folder(task) / "root" / "a"
    until(lambda: locked.exists() and stat.S_IMODE(locked.stat().st_mode) == 0o500)
    admin(clusters, CLUSTER, "scancel", "-u", ANA)
    assert agent.ends(task) == [S.LOST]
    group = pwd.getpwnam(ANA).pw_gid
    until(lambda: not agent.folder(task).exists())
    kept = agent.shared / "work" / ".failed" / task.attempt
    if kept.exists():
        os.utime(kept, (0, 0))
    trash = agent.shared / "work" / f".trash-{group}"
    until(lambda: not kept.exists() and trash.exists() and not any(trash.iterdir()))


def test_a_project_without_a_user_is_refused(agent):
    task = agent.task("otra", "true")
    assert agent.ends(task) == [S.REFUSED]
    reason = agent.hub.report(task.attempt).reason
    assert reason is not None
    assert "does not take project otra" in reason.message


def test_the_agent_may_be_nobody_else_and_the_helper_does_nothing_else(agent, program):
    def asked(user: str, request: Any, *words: str) -> tuple[int, str]:
        with being(AGENT):
            done = subprocess.run(
                ["sudo", "-n", "-u", user, str(program), *words],
                input=json.dumps(request), capture_output=True, text=True, check=False,
            )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    code, answer = asked(ANA, {"verb": "check"})
    assert (code, json.loads(answer)["user"]) == (0, ANA)
    for user in ("root", "nobody"):
        code, answer = asked(user, {"verb": "check"})
        assert code != 0 and "password" in answer
    code, answer = asked(ANA, {"verb": "check"}, "--root=/")
    assert code != 0 and "password" in answer
    code, answer = asked(
        ANA, {"verb": "submit", "script": "#!/bin/sh\nexec true\n", "options": ["--uid=0"]}
    )
    assert code == 2 and "option 'uid'" in answer


def test_without_a_sandbox_a_task_is_its_user_and_no_more(agent):
    """An operator may opt out where projects have local users; the agent is nobody's accomplice."""
    agent.restart('allow_unsandboxed = true\nsandbox = "none"\n')
    other = agent.task("lenguas", "echo secret > mine; sleep 600")
    mine = agent.folder(other) / "root" / "work" / "mine"
    until(mine.exists)
    key = agent.config.key_path
    assert KEY in key.read_text()
    spy = agent.task(
        "fisica",
        f"id -un; cat {key} {mine} || echo no; ls {agent.shared}/work || echo no;"
        "mv $AYNI_ROOT/../logs $AYNI_ROOT/../moved || echo no;"
        f"ln -s {key} $AYNI_ROOT/out; ln -s {key} $AYNI_ROOT/../logs/7.stdout;"
        f"ln -s {key} $AYNI_ROOT/../exit.json.part.agent; echo done",
        outputs=[agent.output("/out")],
    )
    assert agent.ends(spy) == [S.EXECUTOR_ERROR], agent.log()
    said = agent.said(spy)
    assert [line for line in said.splitlines() if ":" not in line] == [
        ANA,
        "no",
        "no",
        "no",
        "done",
    ]
    assert "secret" not in said
    assert KEY not in said
    assert "/out" not in agent.store.files
    assert KEY in key.read_text()
    agent.hub.order(other.attempt, cancel=True)
    assert agent.ends(other) == [S.CANCELED]
