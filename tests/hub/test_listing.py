"""Listing: every filter alone and together, page by page, against a plain reading of the same tasks."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ayni.hub.tasks import ids, listing, tes_views
from ayni.hub.tasks.life import SHOWN, TaskState
from ayni.hub.tasks.models import Array, Task
from ayni.protocol.attempts import AttemptState
from ayni.protocol.messages import Report
from ayni.tes.filters import Filters
from ayni.tes.models import State

from . import factories as make
from .conftest import API, TES

NAMES = ["", "a", "ab", "ab\U0010ffff", "b", "ñandú", "ñ", "\ud7ff", "Z"]
TAGS = [{}, {"k": "1"}, {"k": "2", "m": "1"}, {"m": ""}]
STATES = [TaskState.WAITING, TaskState.QUEUED, TaskState.PLACED, TaskState.COMPLETE]


@pytest.fixture
def many(api, monkeypatch):
    """A task of every kind, and another project's."""
    monkeypatch.setattr(listing, "_FEW", 5)  # so that both ways of reading are taken
    who = make.caller_in(api.project)
    for name, tags in itertools.product(NAMES, TAGS):
        if name and name != "a":
            api.post(f"{TES}/tasks", document(name, tags))
    api.post(f"{API}/arrays", {"task": document("a", TAGS[1]), "count": 9})
    api.post(f"{API}/arrays", {"task": document("", TAGS[3]), "count": 3})
    for number, task in enumerate(Task.objects.order_by("id")):
        Task.objects.filter(id=task.id).update(state=STATES[number % len(STATES)].value)
    make.task(make.project(), name="ab", tags={"k": "1"})
    return who.project


def document(name, tags):
    return {"name": name, "tags": tags, "executors": [{"image": "host", "command": ["true"]}]}


def plain(project, filters, array):
    """What a listing must give, read without any cleverness."""
    found = []
    for task in Task.objects.filter(project=project):
        tags = dict(task.tags.values_list("key", "value"))
        if not task.name.startswith(filters.name_prefix):
            continue
        if filters.state and SHOWN[TaskState(task.state)] is not filters.state:
            continue
        if any(k not in tags or (v is not None and tags[k] != v) for k, v in filters.tags):
            continue
        if array is None or task.array_id == array.pk:
            found.append(task)
    if filters.name_prefix:
        return sorted(found, key=lambda t: (t.name.encode(), t.pk))
    return sorted(found, key=lambda t: t.pk, reverse=array is None)


def pages(project, filters, size, array=None):
    token, found = "", []
    while True:
        page = listing.page_of(project.pk, filters, size, token, array)
        assert len(page.tasks) <= size
        found += page.tasks
        token = page.next_page_token
        if not token:
            return found


FILTERS = st.builds(
    Filters,
    name_prefix=st.sampled_from([*NAMES, "nothing", "\U0010ffff"]),
    state=st.sampled_from([None, State.QUEUED, State.COMPLETE, State.RUNNING, State.PAUSED]),
    tags=st.lists(
        st.tuples(st.sampled_from("km"), st.sampled_from([None, "1", "2"])), max_size=2
    ).map(tuple),
)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(filters=FILTERS, size=st.sampled_from([1, 4, 100]), which=st.sampled_from([None, 0, 1]))
def test_pages_together_are_what_a_plain_reading_gives(many, filters, size, which):
    array = None if which is None else Array.objects.order_by("id")[which]
    found = pages(many, filters, size, array)
    assert [t.pk for t in found] == [t.pk for t in plain(many, filters, array)]


@given(st.text(min_size=1), st.text())
def test_the_end_of_a_prefix_is_beyond_all_that_begin_with_it(prefix, rest):
    end = listing.after_prefix(prefix)
    if end:
        assert (prefix + rest).encode() < end.encode()
        assert prefix.encode() < end.encode()


def test_filters_over_http(api, many):
    def names(path, **parameters):
        return [ids.read(t["id"]) for t in api.get(path, parameters).json()["tasks"]]

    for path in (f"{TES}/tasks", f"{API}/tasks"):
        asked = {"name_prefix": "ab", "state": "COMPLETE", "tag_key": ["k", "m"], "tag_value": "2"}
        expected = plain(many, Filters("ab", State.COMPLETE, (("k", "2"), ("m", None))), None)
        assert names(path, **asked) == [t.pk for t in expected]
        assert names(path, state="PAUSED") == []


def test_a_page_leads_to_the_next(api, many):
    seen, token = [], None
    while True:
        parameters = {"page_size": 7} | ({"page_token": token} if token else {})
        page = api.get(f"{TES}/tasks", parameters).json()
        seen += [t["id"] for t in page["tasks"]]
        token = page.get("next_page_token")
        if token is None:
            break
    assert len(seen) == len(set(seen)) == Task.objects.filter(project=many).count()


@pytest.mark.parametrize(
    "parameters",
    [
        {"page_size": "0"},
        {"page_size": "2048"},
        {"page_size": "many"},
        {"page_size": "-1"},
        {"page_size": "9" * 50},
        {"state": "DONE"},
        {"tag_value": "x"},
        {"name_prefix": "\0"},
        {"tag_key": [str(n) for n in range(11)]},
        {"page_token": "x"},
        {"page_token": "é"},
        {"page_token": "A" * 5000},
    ],
)
def test_a_question_that_cannot_be_understood_is_a_400(api, parameters):
    for path in (f"{TES}/tasks", f"{API}/tasks"):
        answer = api.get(path, parameters)
        assert answer.status_code == 400, (path, answer.content)
        assert answer.json()["errors"][0]["field"] in parameters


def test_a_token_of_another_question_or_project_is_refused(api, api_for, many):
    token = api.get(f"{TES}/tasks", {"page_size": 2}).json()["next_page_token"]
    other = api_for()
    for who, parameters in (
        (api, {"page_token": token, "state": "QUEUED"}),
        (api, {"page_token": token[:-2] + "AA"}),
        (other, {"page_token": token}),
    ):
        assert who.get(f"{TES}/tasks", parameters).status_code == 400


def test_invalid_utf_8_in_a_query_is_no_failure_of_ours(api):
    answer = api.client.get(f"{TES}/tasks?name_prefix=%ff%fe", headers=make.auth(api.secret))
    assert answer.status_code in (200, 400)


@pytest.mark.parametrize("view", ["BASIC", "FULL"])
def test_a_page_of_large_tasks_has_fewer_of_them_and_none_is_left_out(api, monkeypatch, view):
    large = document("", {}) | {"inputs": [{"path": "/a", "content": "x" * 1000}]}
    api.post(f"{API}/arrays", {"task": large, "count": 7})
    # Sorted: those that were made in one millisecond are in no order of their making.
    alone = sorted(api.post(f"{TES}/tasks", large).json()["id"] for _ in range(3))
    told = Report(attempt="a", seq=1, state=AttemptState.RUNNING, system_log=["y" * 5000])
    loud = Task.objects.get(id=ids.read(alone[0]))
    make.attempt(loud, report=told)
    Task.objects.filter(id=loud.pk).update(tries=1)
    monkeypatch.setattr(tes_views, "MAX_PAGE_TEXT", 3500)
    pages, token = [], ""
    while token is not None:
        page = api.get(f"{TES}/tasks", {"view": view, "page_token": token}).json()
        pages.append([task["id"] for task in page["tasks"]])
        token = page.get("next_page_token")
    assert [number for page in pages for number in page] == [
        ids.show(number) for number in Task.objects.order_by("-id").values_list("id", flat=True)
    ]
    assert [len(page) for page in pages] == [2, 1, 3, 3, 1]
    whole = api.get(f"{TES}/tasks", {"view": "MINIMAL"}).json()
    assert len(whole["tasks"]) == 10
