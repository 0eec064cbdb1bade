"""What sites may say and hear for their tasks."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from ayni.hub.calls.models import Project
from ayni.hub.channels import find, keep, read
from ayni.hub.channels.models import Channel, Listener, Message
from ayni.hub.network import peer
from ayni.hub.network.models import Site
from ayni.hub.store.models import File, Upload
from ayni.hub.tasks import dispatch, ids
from ayni.hub.tasks.models import Attempt
from ayni.protocol import charters
from ayni.protocol.attempts import AttemptState
from tests.hub import factories as make
from tests.hub.channels.support import SCHEMA, SUMS, Agent, attempt, channel
from tests.hub.store.support import blocks, content, put


@pytest.fixture
def project(db: None) -> Project:
    return make.project()


@pytest.fixture
def means(project: Project) -> Channel:
    return channel(project)


@pytest.fixture
def agent(client: Client, db: None) -> Agent:
    return Agent(client, make.site())


def test_a_task_speaks_and_another_hears_it(agent: Agent, project: Project, means: Channel) -> None:
    speaker, listener = attempt(project, agent.site), attempt(project, agent.site)
    assert agent.say(speaker, 1) == {"sequence": 1}
    assert agent.say(speaker, 2, {"count": 4, "total": 1}) == {"sequence": 2}
    heard = agent.hear(listener)
    assert [(m["sequence"], m["body"]["count"]) for m in heard["messages"]] == [(1, 3), (2, 4)]
    sender = heard["messages"][0]["sender"]
    assert sender["site"] == agent.site.name and sender["attempt"] == ids.show(speaker.pk)
    assert [m["sequence"] for m in agent.hear(listener, after=1)["messages"]] == [2]
    assert agent.hear(speaker)["messages"] == [], "a task does not hear itself"


def test_a_message_is_taken_once(agent: Agent, project: Project, means: Channel) -> None:
    row = attempt(project, agent.site)
    assert agent.say(row, 1) == agent.say(row, 1) == {"sequence": 1}
    other = agent.say(row, 1, {"count": 9, "total": 1})
    assert other["problem"]["code"] == "conflict"
    assert Message.objects.count() == 1


def test_a_site_s_signature_is_handed_on_to_people_as_it_came(
    agent: Agent, project: Project, means: Channel
) -> None:
    row = attempt(project, agent.site)
    agent.say(row, 7, signature="ab" * 64)
    agent.say(row, 8)
    assert [(c["number"], c["signature"]) for c in read.cards(read.after(means, 0))] == [
        (7, "ab" * 64),
        (8, None),
    ]
    bad = {
        "attempt": ids.show(row.pk), "channel": "means", "number": 9, "kind": "sums",
        "body": SUMS, "signature": "x",
    }  # fmt: skip
    assert agent.call("channels/post", {"messages": [bad]}).status_code == 400


def test_a_site_asks_for_the_text_of_a_charter_and_an_older_agent_is_kept_away(
    agent: Agent, project: Project
) -> None:
    text = "# Carta\n"
    channel(project, charter=text)
    channel(project, "plain")
    row = attempt(project, agent.site, "means,plain:in")
    [means, plain] = find.uses(project.pk, ["means", "plain:in"])
    assert (means.charter, plain.charter) == (charters.digest(text), None)

    def ask(name: str, attempt: str = ids.show(row.pk)) -> Any:
        return agent.call("channels/charter", {"attempt": attempt, "channel": name})

    assert ask("means").json() == {"text": text}
    for other in (ask("plain"), ask("none"), ask("means", "zzz")):
        assert other.status_code == 404
    problem = agent.say(row, 1)["problem"]
    assert (problem["code"], problem["retryable"]) == ("charter", True)
    assert [p["code"] for p in agent.hear(row)["problems"].values()] == ["charter"]
    Site.objects.update(status={"charters": []})
    assert agent.say(row, 1) == {"sequence": 1}
    assert agent.hear(row)["problems"] == {}


def test_two_attempts_of_a_task_count_for_themselves(
    agent: Agent, project: Project, means: Channel
) -> None:
    first = attempt(project, agent.site)
    agent.say(first, 1)
    Attempt.objects.filter(pk=first.pk).update(live=False, state="lost")
    second = make.attempt(first.task, agent.site)
    assert agent.say(second, 1) == {"sequence": 2}
    assert agent.say(first, 2)["problem"]["code"] == "unknown_attempt"


@pytest.mark.parametrize(
    ("channels", "fields"),
    [
        ("", {}),
        ("means:in", {}),
        ("means", {"superseded": True}),
        ("means", {"state": AttemptState.COMPLETE}),
    ],
    ids=["no channel", "reads only", "superseded", "over"],
)
def test_who_may_not_speak_is_not_heard(
    agent: Agent, project: Project, means: Channel, channels: str, fields: dict[str, Any]
) -> None:
    row = attempt(project, agent.site, channels, **fields)
    problem = agent.say(row, 1)["problem"]
    assert problem["code"] in ("not_a_channel", "unknown_attempt") and not problem["retryable"]
    assert not Message.objects.exists()


def test_a_site_speaks_for_no_other_site(agent: Agent, project: Project, means: Channel) -> None:
    row = attempt(project, make.site())
    assert agent.say(row, 1)["problem"]["code"] == "unknown_attempt"
    assert agent.hear(row)["problems"]


def test_who_only_sends_hears_nothing(agent: Agent, project: Project, means: Channel) -> None:
    row = attempt(project, agent.site, "means:out")
    key = f"{ids.show(row.pk)}/means"
    assert agent.hear(row)["problems"][key]["code"] == "not_a_channel"


def test_the_hub_judges_by_the_schema_again(agent: Agent, project: Project, means: Channel) -> None:
    row = attempt(project, agent.site)
    problem = agent.say(row, 1, {**SUMS, "secret": "x"})["problem"]
    assert "secret" in problem["message"]
    assert agent.say(row, 2, kind="other")["problem"]["code"] == "kind"


def test_a_task_may_send_so_much_in_all(
    agent: Agent, project: Project, store_folder: Path, means: Channel
) -> None:
    row = attempt(project, agent.site)
    first, second = content(200_000), content(200_000, 1)
    assert deliver(agent, row, 1, first) == {"sequence": 1}
    assert deliver(agent, row, 2, second)["problem"]["code"] == "size"
    assert File.objects.count() == 1


def deliver(agent: Agent, row: Attempt, number: int, data: bytes) -> dict[str, Any]:
    declared = blocks(data)
    upload = {
        "attempt": ids.show(row.pk), "url": f"channel:means/{declared.sha256}",
        **declared.model_dump(),
    }  # fmt: skip
    [answer] = agent.call("uploads", {"uploads": [upload]}).json()["results"]
    put([(block["n"], block["url"]) for block in answer["missing"]], data)
    [answer] = agent.call("uploads", {"uploads": [upload]}).json()["results"]
    assert answer["ready"]
    blob = {"size": len(data), "sha256": declared.sha256, "upload": answer["upload"]}
    return agent.say(row, number, {}, kind="delta", blob=blob)


def test_a_blob_comes_by_signed_url(
    agent: Agent, project: Project, store_folder: Path, means: Channel
) -> None:
    speaker, listener = attempt(project, agent.site), attempt(project, agent.site)
    data = content(70_000)
    deliver(agent, speaker, 1, data)
    [message] = agent.hear(listener)["messages"]
    assert message["blob"]["size"] == len(data)
    asked = {"attempt": ids.show(listener.pk), "channel": "means", "sequence": 1}
    manifest = agent.call("channels/blob", asked).json()
    assert manifest["size"] == len(data) and len(manifest["blocks"]) == 2
    assert agent.call("channels/blob", {**asked, "sequence": 2}).status_code == 404


def test_another_attempts_upload_is_no_ones_blob(
    agent: Agent, project: Project, store_folder: Path, means: Channel
) -> None:
    one, other = attempt(project, agent.site), attempt(project, agent.site)
    data = content(10)
    deliver(agent, one, 1, data)
    upload = Upload.objects.get()
    blob = {"size": 10, "sha256": upload.sha256, "upload": upload.pk}
    assert agent.say(other, 1, {}, kind="delta", blob=blob)["problem"]["code"] == "upload"


def test_blobs_go_only_where_the_task_sends(
    agent: Agent, project: Project, store_folder: Path, means: Channel
) -> None:
    row = attempt(project, agent.site, "means:in")
    for url in ("channel:means/" + "a" * 64, "channel:other/x", "channel:../x", "channel:"):
        upload = {"attempt": ids.show(row.pk), "url": url, **blocks(b"x").model_dump()}
        [answer] = agent.call("uploads", {"uploads": [upload]}).json()["results"]
        assert answer["problem"]["code"] == "not_a_channel"


def test_an_assignment_carries_the_schemas(agent: Agent, project: Project, means: Channel) -> None:
    row = attempt(project, agent.site, "means:out", state=AttemptState.ASSIGNED)
    site = peer.read(agent.site.pk)
    assert site is not None
    [assignment] = dispatch.assignments(site)
    assert assignment.attempt == ids.show(row.pk)
    [use] = assignment.channels
    assert (use.name, use.sends, use.reads) == ("means", True, False)
    assert use.rules.kinds.keys() == {"sums", "delta"}


def test_a_site_that_reads_is_noted_and_forgotten(
    agent: Agent, project: Project, means: Channel
) -> None:
    row = attempt(project, agent.site)
    agent.hear(row)
    agent.hear(row)
    assert Listener.objects.count() == 1
    keep.forget_old(timezone.now() + 2 * keep.STALE)
    assert not Listener.objects.exists()


def test_messages_go_when_their_time_is_over(agent: Agent, project: Project) -> None:
    channel(project, retention=2)
    row = attempt(project, agent.site)
    agent.say(row, 1)
    assert keep.forget_old(timezone.now()) == 0
    assert keep.forget_old(timezone.now() + timedelta(days=3)) == 1
    assert agent.say(row, 2) == {"sequence": 2}, "numbers are never given twice"


def test_a_task_names_channels_that_there_are(project: Project) -> None:
    from ayni.hub.http import ProblemError

    channel(project)
    make.task(project, resources={"backend_parameters": {"channels": "means"}})
    with pytest.raises(ProblemError, match="ayni channels create"):
        make.task(project, resources={"backend_parameters": {"channels": "other"}})


def test_what_reads_closed_data_may_not_send(project: Project) -> None:
    from ayni.hub.http import ProblemError

    channel(project)
    closed = make.dataset(release="nothing")
    assert closed.site is not None
    inputs = [{"url": f"ayni://{closed.site.name}/{closed.name}/x", "path": "/data/x"}]
    make.task(project, inputs=inputs, resources={"backend_parameters": {"channels": "means:in"}})
    with pytest.raises(ProblemError, match="may only read"):
        make.task(project, inputs=inputs, resources={"backend_parameters": {"channels": "means"}})


@pytest.mark.parametrize(
    "body",
    [
        {"messages": [{}]},
        {"messages": "x"},
        {"messages": [{"attempt": "a", "channel": "..", "number": 1, "kind": "k", "body": {}}]},
        {"messages": [{"attempt": "a", "channel": "c", "number": 1 << 70, "kind": "k", "body": {}}]},
    ],
)  # fmt: skip
def test_nonsense_is_refused(agent: Agent, body: Any) -> None:
    assert agent.call("channels/post", body).status_code == 400


def test_the_rate_of_a_task_is_held_with_leeway(agent: Agent, project: Project) -> None:
    channel(project, schema={**SCHEMA, "rate": 2})
    row = attempt(project, agent.site)
    told = [agent.say(row, n) for n in range(1, 6)]
    assert [t.get("sequence") for t in told] == [1, 2, 3, 4, None]
    assert told[-1]["problem"]["retryable"]


def test_a_restored_hub_gives_no_number_again(agent: Agent, project: Project) -> None:
    means = channel(project)
    row, listener = attempt(project, agent.site), attempt(project, agent.site)
    for n in range(1, 6):
        agent.say(row, n)
    Message.objects.filter(sequence__gt=2).delete()
    Channel.objects.filter(pk=means.pk).update(last=2)
    keep.skip_numbers()
    told = agent.say(row, 6)["sequence"]
    assert told > 5
    assert [m["sequence"] for m in agent.hear(listener, after=5)["messages"]] == [told]
