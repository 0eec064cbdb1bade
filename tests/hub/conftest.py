"""A person in a project, and clients that speak for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from django.test import Client

from ayni.hub.accounts.models import Person
from ayni.hub.accounts.tokens import Caller, admit, digest, valid_token
from ayni.hub.calls.models import Project

from . import factories as make

TES = "/ga4gh/tes/v1"
API = "/api/v1"


@dataclass
class Api:
    """JSON in, JSON out, with one person's token."""

    client: Client
    secret: str
    person: Person
    project: Project

    def get(self, path: str, parameters: Any = None, **headers: str) -> Any:
        return self.client.get(path, parameters, headers=make.auth(self.secret) | headers)

    def post(self, path: str, data: Any = None, **headers: str) -> Any:
        return self.client.post(
            path,
            data=data if data is not None else {},
            content_type="application/json",
            headers=make.auth(self.secret) | {k.replace("_", "-"): v for k, v in headers.items()},
        )

    def delete(self, path: str) -> Any:
        return self.client.delete(path, headers=make.auth(self.secret))

    @property
    def caller(self) -> Caller:
        return admit(valid_token(digest=digest(self.secret)))


@pytest.fixture
def api_for(client: Client) -> Callable[..., Api]:
    def build(**project: Any) -> Api:
        person, of = make.person(), make.project(**project)
        return Api(client, make.token(person, of), person, of)

    return build


@pytest.fixture
def api(db: None, api_for: Callable[..., Api]) -> Api:
    return api_for()
