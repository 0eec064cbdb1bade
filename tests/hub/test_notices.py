"""Telling somebody that a task or array has ended."""

from __future__ import annotations

import hashlib
import hmac
import json
from datetime import timedelta

import pytest
from django.core import mail
from django.utils import timezone

from ayni.hub.tasks import ids, notices, webhook
from ayni.hub.tasks.cancel import cancel_tasks
from ayni.hub.tasks.models import Notice

from .conftest import API

TASK = {"name": "atlas", "executors": [{"image": "host", "command": ["true"]}]}
HOOK = {"kind": "webhook", "target": "https://hooks.example.org/ayni?x=1"}


def end(shown: str) -> None:
    cancel_tasks([ids.read(shown)], "enough")


@pytest.fixture
def sent(monkeypatch):
    """What went out, instead of sending it."""
    out = []
    monkeypatch.setattr(webhook, "send", lambda *what: out.append(what))
    return out


def make_task(api, *notify):
    answer = api.post(f"{API}/tasks", {"task": TASK, "notify": list(notify)})
    assert answer.status_code == 201, answer.content
    return answer.json()["id"]


def test_nothing_is_told_before_the_end(api, sent):
    make_task(api, HOOK)
    assert notices.send_due() == 0
    assert not sent


def test_a_webhook_tells_the_end_once(api, sent):
    made = make_task(api, HOOK)
    end(made)
    assert notices.send_due() == 1
    assert notices.send_due() == 0
    [(target, body, _)] = sent
    told = json.loads(body)
    assert target == HOOK["target"]
    assert (told["event"], told["id"], told["state"]) == ("task.ended", made, "CANCELED")
    assert told["reason"]["message"] == "enough"


def test_a_webhook_is_signed_with_the_projects_key(api, sent):
    end(make_task(api, HOOK))
    notices.send_due()
    [(_, body, signature)] = sent
    fields = dict(part.split("=") for part in signature.split(","))
    key = api.get(f"{API}/me").json()["project"]["webhook_key"]
    mac = hmac.new(key.encode(), f"{fields['t']}.".encode() + body, hashlib.sha256).hexdigest()
    assert fields["v1"] == mac


def test_an_array_tells_its_end_with_the_counts(api, sent):
    answer = api.post(f"{API}/arrays", {"task": TASK, "count": 2, "notify": [HOOK]})
    api.post(f"{API}/arrays/{answer.json()['id']}/cancel")
    notices.send_due()
    told = json.loads(sent[0][1])
    assert (told["event"], told["counts"]) == ("array.ended", {"CANCELED": 2})


@pytest.mark.parametrize(
    ("language", "word"), [("es", "terminó"), ("pt", "terminou"), ("en", "ended")]
)
def test_a_mail_is_in_its_readers_language(api, language, word):
    api.person.language = language
    api.person.save()
    made = make_task(api, {"kind": "mail", "target": api.person.email.upper()})
    end(made)
    assert notices.send_due() == 1
    [letter] = mail.outbox
    assert word in letter.subject and "atlas" in letter.subject
    assert made in letter.body


def test_a_name_with_a_line_break_does_not_break_the_subject(api):
    answer = api.post(
        f"{API}/tasks",
        {
            "task": {**TASK, "name": "a\nBcc: all@example.org"},
            "notify": [{"kind": "mail", "target": api.person.email}],
        },
    )
    end(answer.json()["id"])
    assert notices.send_due() == 1
    assert "\n" not in mail.outbox[0].subject


@pytest.mark.parametrize(
    "notify",
    [
        {"kind": "mail", "target": "stranger@example.org"},
        {"kind": "webhook", "target": "http://hooks.example.org/"},
        {"kind": "webhook", "target": "https://u:p@hooks.example.org/"},
        {"kind": "webhook", "target": "https://"},
        {"kind": "webhook", "target": "https://host:port/"},
        {"kind": "webhook", "target": "https://hooks.example.org/\r\nX: y"},
        {"kind": "pigeon", "target": "home"},
    ],
)
def test_what_cannot_be_told_is_refused_at_once(api, notify):
    answer = api.post(f"{API}/tasks", {"task": TASK, "notify": [notify]})
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"].startswith("notify[0]")


def test_a_failure_is_tried_again_and_at_last_given_up(api, monkeypatch):
    def fail(*_):
        raise webhook.WebhookError("hooks.example.org answered 500")

    monkeypatch.setattr(webhook, "send", fail)
    end(make_task(api, HOOK))
    now = timezone.now()
    for tries in range(1, len(notices.RETRIES) + 2):
        assert notices.send_due(now) == 0
        notice = Notice.objects.get()
        assert notice.tries == tries
        assert notices.send_due(now) == 0  # not at once
        assert Notice.objects.get().tries == tries
        now += timedelta(days=1)
    assert Notice.objects.get().due is None
    assert Notice.objects.get().error.startswith("given up: hooks.example.org")


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "192.168.0.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "::1",
        "fe80::1%eth0",
        "fd00::1",
        "::ffff:10.0.0.1",
        "64:ff9b::a00:1",
        "2002:a00:1::",
        "::",
    ],
)
def test_an_inner_address_is_not_public(address):
    assert not webhook.is_public(address)


def test_a_name_with_one_inner_address_is_refused(monkeypatch):
    found = [(2, 1, 6, "", ("93.184.216.34", 443)), (2, 1, 6, "", ("10.0.0.1", 443))]
    monkeypatch.setattr(webhook.socket, "getaddrinfo", lambda *a, **k: found)
    with pytest.raises(webhook.WebhookError, match="not a public address"):
        webhook.public_address("mixed.example.org", 443)


def test_public_addresses_are_public():
    assert webhook.is_public("93.184.216.34")
    assert webhook.is_public("2606:2800:220:1:248:1893:25c8:1946")
