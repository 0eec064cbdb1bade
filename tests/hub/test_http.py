"""How programs are answered."""

from __future__ import annotations

import pytest

from . import factories as make

pytestmark = pytest.mark.django_db


def test_me_says_who_the_token_stands_for(client):
    someone, project = make.person(), make.project()
    answer = client.get("/api/v1/me", headers=make.auth(make.token(someone, project)))
    assert answer.status_code == 200
    assert answer.json()["person"]["email"] == someone.email
    assert answer.json()["project"]["name"] == project.name


def test_an_unknown_address_is_a_problem_document(client):
    for path in ("/api/v1/nothing", "/ga4gh/tes/v1/nothing", "/ga4gh/", "/api/v1/me/"):
        answer = client.get(path)
        assert answer.status_code == 404
        assert answer["Content-Type"] == "application/problem+json"


def test_another_method_is_405_and_names_what_is_allowed(client):
    answer = client.put("/api/v1/me", data=b"{}", content_type="application/json")
    assert answer.status_code == 405
    assert answer["Allow"] == "GET, HEAD, OPTIONS"
    assert answer.json()["status"] == 405


def test_options_names_what_is_allowed(client):
    answer = client.options("/api/v1/me")
    assert answer.status_code == 204
    assert answer["Allow"] == "GET, HEAD, OPTIONS"


def test_head_is_get_without_a_body(client):
    headers = make.auth(make.token())
    whole = client.get("/api/v1/me", headers=headers)
    head = client.head("/api/v1/me", headers=headers)
    assert (head.status_code, head.content) == (200, b"")
    assert head["Content-Length"] == str(len(whole.content))


def test_who_asks_comes_before_what_is_asked(client):
    assert client.get("/api/v1/me").status_code == 401
    assert client.get("/api/v1/usage").status_code == 401


def test_a_failure_of_ours_is_a_problem_document_too(client, monkeypatch):
    monkeypatch.setattr("ayni.hub.accounts.auth.caller", lambda request: 1 / 0)
    answer = client.get("/api/v1/me")
    assert answer.status_code == 500
    assert "ZeroDivision" not in answer.content.decode()
