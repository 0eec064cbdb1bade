"""`POST /agent/v1/books`: a site sees what is booked of its own jobs, and of nobody else's."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from django.test import Client

from ayni.hub.ledger.models import UsageRecord
from ayni.hub.network.models import Site
from ayni.protocol.attempts import AttemptState
from tests.hub import factories
from tests.hub.network.simulated import tasks

WHEN = datetime(2026, 5, 1, tzinfo=UTC)
KEY = {"job": "1000001_3", "submitted": WHEN.timestamp()}

pytestmark = pytest.mark.django_db


def record(
    site: Site, core_seconds: float, job: str = "1000001_3", *, allocated: bool = True
) -> None:
    project = factories.project(factories.institution(factories.member("CO")))
    (task,) = tasks(project, 1)
    UsageRecord.objects.create(
        attempt=factories.attempt(task, site, AttemptState.COMPLETE), project=project, site=site,
        giver=site.institution.member, receiver=project.institution.member, job=job, cores=1,
        wall=1.0, cpu=1.0, core_seconds=core_seconds, node_seconds=core_seconds, peak_memory=1,
        ended=WHEN, submitted=WHEN if allocated else None, allocated=allocated,
    )  # fmt: skip


def ask(client: Client, site: Site, *jobs: dict[str, Any]) -> Any:
    answer = client.post(
        "/agent/v1/books", json.dumps({"jobs": jobs}), content_type="application/json",
        headers=factories.auth(factories.site_token(site)),
    )  # fmt: skip
    assert answer.status_code == 200, answer.content
    return answer.json()["jobs"]


def test_attempts_that_shared_a_job_are_summed(client: Client) -> None:
    site = factories.site()
    record(site, 10.0)
    record(site, 32.0)
    record(site, 99.0, job="other")
    assert ask(client, site, KEY) == [
        {**KEY, "attempts": 2, "core_seconds": 42.0, "node_seconds": 42.0, "gpu_seconds": 0.0}
    ]


def test_what_was_only_measured_and_what_is_unknown_is_left_out(client: Client) -> None:
    site = factories.site()
    record(site, 10.0, allocated=False)
    assert ask(client, site, KEY, {"job": "9", "submitted": 0}) == []


def test_another_sites_jobs_are_not_shown(client: Client) -> None:
    site = factories.site()
    record(factories.site(), 10.0)
    assert ask(client, site, KEY) == []


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b'{"jobs": [{"job": 1}]}', b'{"jobs": [{"job": "1", "submitted": 1e99}]}'],
)
def test_what_is_no_question_is_refused(client: Client, body: bytes) -> None:
    headers = factories.auth(factories.site_token(factories.site()))
    answer = client.post("/agent/v1/books", body, content_type="application/json", headers=headers)
    assert answer.status_code in (400, 422)


def test_nobody_without_a_sites_key_asks(client: Client) -> None:
    answer = client.post("/agent/v1/books", "{}", content_type="application/json")
    assert answer.status_code == 401
