"""The agents' endpoints over HTTP: registration, keys, bodies, and how strangers are answered."""

from __future__ import annotations

import gzip
import json
import threading
import time
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.test import Client
from django.utils import timezone

from ayni.hub.accounts.tokens import digest
from ayni.hub.network import waits, wake
from ayni.hub.network.cycle import Broker
from ayni.hub.network.models import Site
from ayni.hub.tasks.life import TaskState
from ayni.hub.tasks.models import Attempt
from ayni.protocol.attempts import AttemptState
from ayni.protocol.messages import (
    LOG_TAIL,
    MAX_INVENTORY,
    MAX_PLAIN,
    MAX_REPORTS,
    LogReport,
    Report,
    StartStatus,
)
from ayni.protocol.policy import Policy
from tests.hub import factories
from tests.hub.network.simulated import Agent, partition, state, status, tasks

JSON = "application/json"


def post(client: Client, path: str, body: Any, key: str | None = None, **headers: str) -> Any:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    if key is not None:
        headers["Authorization"] = f"Bearer {key}"
    return client.post(f"/agent/v1/{path}", data, content_type=JSON, headers=headers)


def with_code(site: Site, code: str = "ayni_code") -> str:
    Site.objects.filter(id=site.id).update(
        code_digest=digest(code), code_expires=timezone.now() + timedelta(hours=1)
    )
    return code


@pytest.mark.django_db
def test_a_code_gives_a_key_once(client: Client) -> None:
    site = factories.site()
    code = with_code(site)
    first = post(client, "register", {"code": code, "hostname": "login1"})
    assert first.status_code == 200
    assert first.json()["site"] == site.name
    agent = Agent(site)
    told = post(client, "sync", agent.ask().model_dump_json().encode(), first.json()["token"])
    assert told.json()["epoch"] == first.json()["epoch"]
    again = post(client, "register", {"code": code})
    assert again.status_code == 401
    assert "ayni hub site code" in again.json()["detail"]


@pytest.mark.django_db
def test_an_expired_code_gives_nothing(client: Client) -> None:
    site = factories.site()
    code = with_code(site)
    Site.objects.update(code_expires=timezone.now() - timedelta(seconds=1))
    assert post(client, "register", {"code": code}).status_code == 401


@pytest.mark.django_db
@pytest.mark.parametrize("same_journal", [True, False])
def test_registering_anew_keeps_the_attempts_only_with_the_same_journal(
    client: Client, same_journal: bool
) -> None:
    site = factories.site()
    key = factories.site_token(site)
    agent = Agent(site)
    agent.sync()
    [task] = tasks(factories.project())
    Broker().cycle()
    agent.settle()
    incarnation = agent.journal.incarnation if same_journal else "another"
    made = post(client, "register", {"code": with_code(site), "incarnation": incarnation})
    assert made.status_code == 200
    assert state(task) is (TaskState.PLACED if same_journal else TaskState.QUEUED)
    assert Attempt.objects.get().live is same_journal
    assert post(client, "sync", agent.ask().model_dump_json().encode(), key).status_code == 401


@pytest.mark.django_db
def test_a_sync_may_be_gzipped(client: Client) -> None:
    site = factories.site()
    body = gzip.compress(Agent(site).ask().model_dump_json().encode())
    answer = post(client, "sync", body, factories.site_token(site), **{"Content-Encoding": "gzip"})
    assert answer.status_code == 200


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("body", "encoding", "status"),
    [
        (b"{", "", 400),
        (b"[]", "", 400),
        (b'{"incarnation": 7}', "", 400),
        (b"not gzip", "gzip", 400),
        (gzip.compress(b"x" * (MAX_PLAIN + 1)), "gzip", 413),
        (b'{"x": "' + b"x" * (9 << 20) + b'"}', "", 413),
    ],
)
def test_a_body_that_cannot_be_is_refused(
    client: Client, body: bytes, encoding: str, status: int
) -> None:
    key = factories.site_token()
    answer = post(client, "sync", body, key, **{"Content-Encoding": encoding})
    assert answer.status_code == status
    assert answer["Content-Type"] == "application/problem+json"


@pytest.mark.django_db
@pytest.mark.parametrize(
    "change",
    [
        {"generation": -1},
        {"number": 1 << 40},
        {"through": 1 << 70},
        {"session": ""},
        {"incarnation": "x" * 65},
        {"wait": "long"},
    ],
)
def test_a_number_or_name_that_cannot_be_is_refused(client: Client, change: dict[str, Any]) -> None:
    site = factories.site()
    body = {**Agent(site).ask().model_dump(mode="json"), **change}
    assert post(client, "sync", body, factories.site_token(site)).status_code == 400


@pytest.mark.django_db
@pytest.mark.parametrize(
    "policy",
    [
        {"timezone": "America"},  # a folder of the zones' files
        {"timezone": "a" * 300},
        {"hours": [{"begin": "10:00Z", "end": "12:00"}]},
    ],
)
def test_a_policy_that_no_broker_can_judge_by_is_refused(
    client: Client, policy: dict[str, Any]
) -> None:
    site = factories.site()
    body = Agent(site).ask().model_dump(mode="json")
    body["status"]["policy"] |= policy
    assert post(client, "sync", body, factories.site_token(site)).status_code == 400


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"inventory": [0] * 1_000_000}, "inventory"),
        ({"inventory": ["x"] * (MAX_INVENTORY + 1)}, "inventory"),
        ({"reports": [{}] * 100_000}, "reports"),
        ({"reports": [{}] * 10}, "reports[0].attempt"),
        ({"status": {"datasets": [{}] * 100_000}}, "status"),
        ({"status": {"policy": {"members": [0] * 100_000}}}, "status"),
        ({"status": {"policy": {str(n): 0 for n in range(5000)}}}, "it has too many faults"),
    ],
)
def test_a_body_with_a_million_faults_is_refused_at_its_first_ones(
    client: Client, change: dict[str, Any], field: str
) -> None:
    site = factories.site()
    body = {**Agent(site).ask().model_dump(mode="json"), **change}
    packed = gzip.compress(json.dumps(body).encode())
    answer = post(
        client, "sync", packed, factories.site_token(site), **{"Content-Encoding": "gzip"}
    )
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith(field)
    assert len(answer.json().get("errors", [])) < 10  # of 20 that would be told


@pytest.mark.django_db
def test_a_large_site_is_heard(client: Client) -> None:
    """A full request: reports with tails, and all that the site has."""
    site = factories.site()
    ask = Agent(site).ask()
    names = [f"{n:013x}" for n in range(20_000)]
    log = LogReport(command=0, stream="stdout", size=LOG_TAIL, tail="\u20ac" * (LOG_TAIL // 16))
    ask.reports = [
        Report(attempt=name, seq=n + 1, state=AttemptState.RUNNING, logs=[log])
        for n, name in enumerate(names[:MAX_REPORTS])
    ]
    ask.through, ask.inventory = MAX_REPORTS, names
    packed = gzip.compress(ask.model_dump_json().encode(), 3)
    answer = post(
        client, "sync", packed, factories.site_token(site), **{"Content-Encoding": "gzip"}
    )
    assert answer.status_code == 200
    assert answer.json()["acknowledged"] == MAX_REPORTS


@pytest.mark.django_db
def test_hostile_reports_are_stored_as_far_as_they_can_be(client: Client) -> None:
    site = factories.site()
    key = factories.site_token(site)
    agent = Agent(site)
    agent.sync()
    [task] = tasks(factories.project())
    Broker().cycle()
    agent.settle()
    [attempt] = agent.journal.live()
    agent.advance(attempt, AttemptState.COMPLETE)
    body = agent.ask().model_dump(mode="json")
    body["reports"][-1] |= {
        "host": "a\x00b" * 1000,
        "started": 1e300,
        "ended": -5.0,
        "accepted": 1e18,
        "usage": {
            "job": "j" * 1000, "cores": -3, "nodes": 1 << 40, "wall": 1e300, "cpu": -1.0,
            "peak_memory": 1 << 80, "queue_wait": 1e308,
        },
    }  # fmt: skip
    assert post(client, "sync", body, key).status_code == 200
    assert state(task) is TaskState.COMPLETE


@pytest.mark.django_db
def test_who_is_no_site_or_is_banned_is_told_so(client: Client) -> None:
    site = factories.site()
    key = factories.site_token(site)
    body = Agent(site).ask().model_dump_json().encode()
    assert post(client, "sync", body).status_code == 401
    assert post(client, "sync", body, "ayni_guess").status_code == 401
    assert post(client, "sync", body, factories.token()).status_code == 403
    Site.objects.update(banned_at=timezone.now(), banned_why="misuse")
    answer = post(client, "sync", body, key)
    assert (answer.status_code, "misuse" in answer.json()["detail"]) == (403, True)


@pytest.mark.django_db
def test_another_protocol_is_told_what_this_hub_speaks(client: Client) -> None:
    site = factories.site()
    body = {**Agent(site).ask().model_dump(mode="json"), "protocol": 99}
    answer = post(client, "sync", body, factories.site_token(site))
    assert (answer.status_code, answer.json()["fence"]) == (426, "version")


@pytest.mark.django_db(transaction=True)
def test_a_waiting_sync_is_answered_when_there_is_something_to_say(client: Client) -> None:
    site = factories.site()
    key = factories.site_token(site)
    agent = Agent(site)
    agent.sync()
    agent.settle()
    answers: list[Any] = []

    def wait() -> None:
        body = agent.ask(wait=20.0).model_dump_json().encode()
        answers.append(post(Client(), "sync", body, key))
        connection.close()

    waiting = threading.Thread(target=wait)
    began = time.monotonic()
    waiting.start()
    tasks(factories.project())
    while not answers and time.monotonic() - began < 15:
        Broker().cycle()
        waiting.join(0.1)
    waiting.join()
    assert len(answers[0].json()["assignments"]) == 1


@pytest.mark.django_db(transaction=True)
def test_a_newer_request_lets_go_of_an_older_one_that_waits(client: Client) -> None:
    site = factories.site()
    key = factories.site_token(site)
    agent = Agent(site)
    agent.sync()
    agent.settle()
    answers: list[Any] = []

    def wait() -> None:
        body = agent.ask(wait=20.0).model_dump_json().encode()
        answers.append(post(Client(), "sync", body, key))
        connection.close()

    older = threading.Thread(target=wait)
    older.start()
    while Site.objects.get(id=site.id).number < agent.side.number or not agent.side.number:
        time.sleep(0.01)
    time.sleep(0.05)
    newer = post(client, "sync", agent.ask().model_dump_json().encode(), key)
    older.join(10)
    assert not older.is_alive()
    assert answers[0].json()["number"] < newer.json()["number"]


@pytest.mark.django_db(transaction=True)
def test_a_ring_sounds_only_when_its_transaction_has_committed() -> None:
    ear = wake.Ear(wake.site_key(7))
    with transaction.atomic():
        wake.site(7)
        assert not ear.wait(0.01)
    assert ear.wait(1.0)
    assert not ear.wait(0.01)


@pytest.mark.django_db
def test_the_sites_and_a_dry_run_are_told_to_members(client: Client) -> None:
    site = factories.site()
    Agent(site).sync()
    headers = factories.auth(factories.token())
    told = client.get("/api/v1/sites", headers=headers).json()["sites"]
    assert [(s["name"], s["state"]) for s in told] == [(site.name, "healthy")]
    assert told[0]["partitions"][0]["used_cores"] == 0
    body = {"task": {"executors": [{"image": "host", "command": ["true"]}]}}
    dry = client.post("/api/v1/sites/for", body, content_type=JSON, headers=headers)
    assert dry.json()["chosen"] == site.name
    body["task"]["resources"] = {"cpu_cores": 500}  # type: ignore[assignment]
    dry = client.post("/api/v1/sites/for", body, content_type=JSON, headers=headers)
    assert (dry.json()["chosen"], dry.json()["sites"][0]["code"]) == (None, "cores")
    assert dry.json()["sites"][0]["start_in"] is None
    assert client.get("/api/v1/sites").status_code == 401


@pytest.mark.django_db
def test_a_dry_run_tells_when_it_would_start_how_that_is_known_and_the_usual_error(
    client: Client,
) -> None:
    now = timezone.now()
    small = {"cores": 1, "memory": 1, "gpus": 0, "walltime": 3600}
    start = StartStatus(**small, at=now.timestamp() + 600)
    for name, starts in (("andes", [start]), ("bravo", [])):
        Agent(factories.site(name=name), offers=status(partition(starts=starts))).sync()
    one = waits.Began("main", "1-1-0-3600", "scheduler", 500.0, 100.0)
    waits.learn(Site.objects.get(name="andes").pk, [one], now)
    body = {"task": {"executors": [{"image": "host", "command": ["true"]}]}}
    headers = factories.auth(factories.token())
    answer = client.post("/api/v1/sites/for", body, content_type=JSON, headers=headers).json()
    andes, bravo = answer["sites"]
    assert answer["chosen"] == "bravo"
    assert (andes["partition"], andes["by"], andes["usual_error"]) == ("main", "scheduler", 100.0)
    assert andes["start_in"] == pytest.approx(600.0, abs=5.0)
    assert (bravo["start_in"], bravo["by"], bravo["usual_error"]) == (0.0, "free", None)


@pytest.mark.django_db
def test_whom_a_site_refuses_is_not_told_to_others(client: Client) -> None:
    policy = Policy(members=["CL"], deny_persons=["eva@uni.example"], deny_projects=["minas"])
    Agent(factories.site(), offers=status(partition(), policy=policy)).sync()
    answer = client.get("/api/v1/sites", headers=factories.auth(factories.token()))
    assert answer.json()["sites"][0]["policy"]["members"] == ["CL"]
    assert b"eva@uni.example" not in answer.content
    assert b"minas" not in answer.content


@pytest.mark.django_db
def test_of_whom_a_site_takes_each_is_told_only_of_their_own(client: Client) -> None:
    policy = Policy(projects=["mar-*"], deny_persons=["eva@*"])
    Agent(factories.site(), offers=status(partition(), policy=policy)).sync()
    taken, other = (factories.project(name=name) for name in ("mar-abierto", "montes"))
    eva = factories.person(email="eva@uni.example")
    for person, project, takes in ((None, taken, True), (None, other, False), (eva, taken, False)):
        headers = factories.auth(factories.token(person, project))
        answer = client.get("/api/v1/sites", headers=headers)
        [told] = answer.json()["sites"]
        assert told["takes_you"] is takes
        assert told["policy"]["only_agreed"] is True
        assert "projects" not in told["policy"] and b"mar-" not in answer.content
