"""A person's channels: made once, read in order, waited for, deleted with all they hold."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from ayni.hub.channels.models import Channel, Message
from ayni.hub.store.models import File
from ayni.protocol import charters
from tests.hub import factories as make
from tests.hub.channels.support import SCHEMA, SUMS, channel
from tests.hub.conftest import API, Api
from tests.hub.store.support import blocks, content, put, read


@pytest.fixture
def means(api: Api) -> Channel:
    return channel(api.project)


def send(api: Api, key: str = "1", name: str = "means", **more: Any) -> Any:
    message = {"kind": "sums", "body": SUMS, "key": key, **more}
    return api.post(f"{API}/channels/{name}/messages", message)


def test_a_channel_is_made_once(api: Api) -> None:
    asked = {"name": "means", "schema": SCHEMA, "retention": 7}
    for _ in range(2):
        made = api.post(f"{API}/channels", asked)
        assert made.status_code == 201, made.content
    assert Channel.objects.count() == 1
    shown = api.get(f"{API}/channels/means").json()
    assert (shown["name"], shown["retention"], shown["last"]) == ("means", 7, 0)
    assert shown["schema"]["kinds"]["sums"]["fields"]["count"]["maximum"] == 1000
    assert [c["name"] for c in api.get(f"{API}/channels").json()["channels"]] == ["means"]


def test_another_schema_under_the_same_name_is_refused(api: Api) -> None:
    api.post(f"{API}/channels", {"name": "means", "schema": SCHEMA})
    other = api.post(f"{API}/channels", {"name": "means", "schema": {**SCHEMA, "rate": 1}})
    assert other.status_code == 409
    assert "take another name" in other.json()["detail"]


CHARTER = "# Carta\n\nLos textos se quedan.\n"


def test_a_charter_is_never_changed_and_shows_who_accepted_it(api: Api) -> None:
    asked = {"name": "means", "schema": SCHEMA, "charter": CHARTER}
    for _ in range(2):
        made = api.post(f"{API}/channels", asked)
        assert made.status_code == 201, made.content
    for other in (CHARTER + "x", ""):
        refused = api.post(f"{API}/channels", {**asked, "charter": other})
        assert refused.status_code == 409 and "another charter" in refused.json()["detail"]
    digest = charters.digest(CHARTER)
    said = {"digest": digest, "at": 5.0, "why": ""}
    for name, project, state in (
        ("norte", api.project.name, "accepted"),
        ("oeste", "another", "accepted"),
        ("sur", api.project.name, "asked"),
    ):
        one = {**said, "project": project, "state": state}
        make.site(name=name, status={"charters": [{**one, "digest": "0" * 64}, one]})
    make.site(name="vieja", status={"charters": None})
    shown = api.get(f"{API}/channels/means").json()
    assert (shown["charter"], shown["charter_digest"]) == (CHARTER, digest)
    assert [(a["site"], a["state"]) for a in shown["answers"]] == [
        ("norte", "accepted"),
        ("sur", "asked"),
    ]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": "Means"}, "name"),
        ({"name": "../x"}, "name"),
        ({"retention": 0}, "retention"),
        ({"schema": {"kinds": {}}}, "schema.kinds"),
        ({"schema": {"kinds": {"a": {"fields": {"x": {"type": "text"}}}}}}, "schema.kinds.a.fields.x"),
        ({"other": 1}, "other"),
        ({"charter": "  "}, "charter"),
        ({"charter": "a\x1b[2J"}, "charter"),
        ({"charter": "x" * (1 << 16)}, "charter"),
    ],
)  # fmt: skip
def test_what_is_no_channel_is_named(api: Api, change: dict[str, Any], field: str) -> None:
    refused = api.post(f"{API}/channels", {"name": "means", "schema": SCHEMA, **change})
    assert refused.status_code == 400, refused.content
    assert refused.json()["errors"][0]["field"].startswith(field)


def test_messages_are_numbered_and_read_in_order(api: Api, means: Channel) -> None:
    for n in range(5):
        posted = send(api, str(n), body={"count": n, "total": 0})
        assert posted.status_code == 201, posted.content
        assert posted.json() == {"sequence": n + 1}
    heard = api.get(f"{API}/channels/means/messages", {"after": 2, "limit": 2}).json()
    assert [(m["sequence"], m["body"]["count"]) for m in heard["messages"]] == [(3, 2), (4, 3)]
    assert heard["last"] == 5
    assert heard["messages"][0]["sender"]["person"] == api.person.email


def test_the_same_key_again_is_the_same_message(api: Api, means: Channel) -> None:
    assert send(api).json() == send(api).json() == {"sequence": 1}
    other = send(api, body={"count": 4, "total": 0})
    assert other.status_code == 409
    assert Message.objects.count() == 1


def test_what_the_schema_does_not_list_is_refused(api: Api, means: Channel) -> None:
    refused = send(api, body={**SUMS, "secret": 1})
    assert refused.status_code == 400
    assert "secret" in refused.json()["detail"]
    assert not Message.objects.exists()


def test_too_many_messages_a_minute_are_put_off(api: Api) -> None:
    channel(api.project, schema={**SCHEMA, "rate": 2})
    assert [send(api, str(n)).status_code for n in range(3)] == [201, 201, 429]


def test_a_blob_is_sent_first_and_lies_by_its_content(
    api: Api, means: Channel, store_folder: Path
) -> None:
    data = content(100_000)
    declared = blocks(data).model_dump()
    answer = api.post(f"{API}/channels/means/blobs", declared).json()
    early = {"size": len(data), "sha256": declared["sha256"], "upload": answer["upload"]}
    assert send(api, kind="delta", body={}, blob=early).status_code == 409, "not there yet"
    put([(block["n"], block["url"]) for block in answer["missing"]], data)
    answer = api.post(f"{API}/channels/means/blobs", declared).json()
    assert answer["ready"]
    lie = send(api, "lie", kind="delta", body={}, blob={**early, "size": 5})
    assert lie.status_code == 409
    for key in ("1", "2"):
        posted = send(api, key, kind="delta", body={}, blob=early)
        assert posted.status_code == 201, posted.content
    path = f".ayni/channels/means/{declared['sha256']}"
    assert read(api.project, path) == data
    assert File.objects.get(path=path).expires is not None
    [first, _] = api.get(f"{API}/channels/means/messages").json()["messages"]
    assert first["blob"] == {"size": len(data), "sha256": declared["sha256"]}


def test_a_blob_cannot_be_committed_as_a_file_of_its_own(
    api: Api, means: Channel, store_folder: Path
) -> None:
    data = content(10)
    answer = api.post(f"{API}/channels/means/blobs", blocks(data).model_dump()).json()
    put([(block["n"], block["url"]) for block in answer["missing"]], data)
    assert api.post(f"{API}/uploads/{answer['upload']}/commit").status_code == 404


def test_a_channel_goes_with_its_messages_and_blobs(
    api: Api, means: Channel, store_folder: Path
) -> None:
    data = content(10)
    declared = blocks(data).model_dump()
    answer = api.post(f"{API}/channels/means/blobs", declared).json()
    put([(block["n"], block["url"]) for block in answer["missing"]], data)
    api.post(f"{API}/channels/means/blobs", declared)
    blob = {"size": 10, "sha256": declared["sha256"], "upload": answer["upload"]}
    send(api, kind="delta", body={}, blob=blob)
    gone = api.client.delete(
        f"{API}/channels/means", headers={"Authorization": f"Bearer {api.secret}"}
    )
    assert gone.status_code == 200, gone.content
    assert not Message.objects.exists() and not File.objects.exists()


def test_another_project_has_no_such_channel(api: Api, api_for: Any, means: Channel) -> None:
    other: Api = api_for()
    for path in ("", "/messages"):
        assert other.get(f"{API}/channels/means{path}").status_code == 404
    assert send(other).status_code == 404
    assert other.get(f"{API}/channels").json() == {"channels": []}
    for strange in ("%00", "a" * 200, "MEANS"):
        assert api.get(f"{API}/channels/{strange}").status_code == 404


@pytest.mark.django_db(transaction=True)
def test_who_waits_hears_of_a_message_at_once(api_for: Any) -> None:
    api: Api = api_for()
    channel(api.project)
    heard: list[Any] = []

    def wait() -> None:
        from django.db import connection

        answer = api.get(f"{API}/channels/means/messages", {"wait": 20})
        heard.extend(answer.json()["messages"])
        connection.close()

    waiting = threading.Thread(target=wait)
    waiting.start()
    send(api)
    waiting.join()
    assert [m["sequence"] for m in heard] == [1]
