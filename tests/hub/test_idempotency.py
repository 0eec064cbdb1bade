"""`Idempotency-Key`: a request sent again makes nothing."""

from __future__ import annotations

import pytest

from ayni.hub.tasks.models import Array, Task

from .conftest import API, TES

TASK = {"executors": [{"image": "host", "command": ["true"]}]}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (f"{API}/tasks", {"task": TASK}),
        (f"{API}/arrays", {"task": TASK, "count": 3}),
        (f"{TES}/tasks", TASK),
    ],
)
def test_the_same_request_with_the_same_key_is_made_once(api, path, body):
    first, second = (api.post(path, body, Idempotency_Key="k1") for _ in range(2))
    assert first.status_code == second.status_code
    assert first.json() == second.json()
    assert Task.objects.count() in (1, 3)
    assert Array.objects.count() <= 1


def test_another_request_with_the_same_key_is_refused(api):
    api.post(f"{API}/tasks", {"task": TASK}, Idempotency_Key="k1")
    answer = api.post(f"{API}/tasks", {"task": {**TASK, "name": "x"}}, Idempotency_Key="k1")
    assert answer.status_code == 422
    assert Task.objects.count() == 1


def test_without_a_key_equal_requests_are_replicates(api):
    ids = {api.post(f"{API}/tasks", {"task": TASK}).json()["id"] for _ in range(2)}
    assert len(ids) == 2


def test_a_key_is_one_persons_in_one_project(api, api_for):
    for who in (api, api_for()):
        who.post(f"{API}/tasks", {"task": TASK}, Idempotency_Key="k1")
    assert Task.objects.count() == 2


@pytest.mark.parametrize("key", ["", "a b", "é", "x" * 256])
def test_a_key_that_cannot_be_kept_is_refused(api, key):
    for path, body in ((f"{API}/tasks", {"task": TASK}), (f"{TES}/tasks", TASK)):
        assert api.post(path, body, Idempotency_Key=key).status_code == 400
