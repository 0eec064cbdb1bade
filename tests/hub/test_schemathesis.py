"""Both APIs against their own OpenAPI documents: no 5xx, and nothing that the documents do not say."""

from __future__ import annotations

import pytest
import schemathesis
from django.core.signals import request_finished, request_started
from django.db import close_old_connections
from hypothesis import HealthCheck, Phase, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from ayni.hub.tasks import ids
from ayni.hub.tasks.create import create_array
from ayni.hub.tasks.life import TaskState
from ayni.hub.tasks.requests import NewArray
from ayni.hub.wsgi import application
from ayni.protocol.attempts import AttemptState
from ayni.protocol.messages import CommandReport, LogReport, OutputReport, Report

from . import factories as make

TASK = {"executors": [{"image": "host", "command": ["true"]}]}
REPORT = Report(
    attempt="x",
    seq=1,
    state=AttemptState.EXECUTOR_ERROR,
    commands=[CommandReport(exit_code=1, started=1.0, ended=2.0)],
    logs=[LogReport(command=0, stream="stdout", size=2, tail="2\n")],
    outputs=[OutputReport(url="ayni://p/o", path="/out", size=5, sha256="0" * 64)],
)

pytestmark = pytest.mark.django_db
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
    unsupported_method,
]

bounded = settings(
    max_examples=10,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(autouse=True)
def _one_transaction():
    """A test's transaction outlives the requests in it, as with Django's own test client."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


tes_schema = schemathesis.openapi.from_wsgi("/api/v1/tes-openapi.json", application)
our_schema = schemathesis.openapi.from_wsgi("/api/v1/openapi.json", application)


@pytest.fixture
def caller(db):
    """A token, and a task and an array that it may see."""
    project = make.project()
    task = make.task(project, TaskState.EXECUTOR_ERROR, name="a", tags={"k": "v"})
    make.attempt(task, state=AttemptState.EXECUTOR_ERROR, report=REPORT)
    array = NewArray(task=TASK, count=2)
    number, _ = create_array(make.caller_in(project), array)
    return make.token(None, project), ids.show(task.pk), ids.show(number)


@tes_schema.parametrize()
@bounded
def test_tes_does_what_its_document_says(case, caller):
    check(case, *caller)


@our_schema.parametrize()
@bounded
def test_our_api_does_what_its_document_says(case, caller):
    check(case, *caller)


def check(case, secret, task, array):
    if "id" in case.path_parameters and case.meta.generation.mode is GenerationMode.POSITIVE:
        case.path_parameters["id"] = array if "/arrays/" in case.path else task
    if isinstance(case.query, dict) and "wait" in case.query:
        case.query["wait"] = 0 if case.query["wait"] in range(26) else case.query["wait"]
    case.call_and_validate(headers=make.auth(secret), checks=CHECKS)
