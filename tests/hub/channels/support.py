"""What tests of channels share."""

from __future__ import annotations

from typing import Any

from django.test import Client

from ayni.hub.calls.models import Project
from ayni.hub.channels.models import Channel
from ayni.hub.network.models import Site
from ayni.hub.tasks import ids
from ayni.hub.tasks.models import Attempt
from tests.hub import factories as make

SCHEMA: dict[str, Any] = {
    "kinds": {
        "sums": {
            "fields": {
                "count": {"type": "integer", "minimum": 0, "maximum": 1000},
                "total": {"type": "number", "minimum": -1e6, "maximum": 1e6},
            }
        },
        "delta": {"blob": {"max_bytes": 1 << 20}},
    },
    "max_bytes": 300_000,
    "rate": 100,
}
SUMS = {"count": 3, "total": 4.5}


def channel(project: Project, name: str = "means", **fields: Any) -> Channel:
    fields.setdefault("schema", SCHEMA)
    fields.setdefault("retention", 30)
    return Channel.objects.create(project=project, name=name, person=make.person(), **fields)


def attempt(project: Project, site: Site, channels: str = "means", **fields: Any) -> Attempt:
    """A live attempt of a task that uses these channels."""
    parameters = {"channels": channels} if channels else {}
    task = make.task(project, resources={"backend_parameters": parameters})
    return make.attempt(task, site, **fields)


class Agent:
    """A site's agent, as the hub hears it."""

    def __init__(self, client: Client, site: Site) -> None:
        self.client, self.site, self.key = client, site, make.site_token(site)

    def call(self, what: str, body: Any) -> Any:
        return self.client.post(
            f"/agent/v1/{what}",
            data=body,
            content_type="application/json",
            headers=make.auth(self.key),
        )

    def say(self, row: Attempt, number: int, body: Any = SUMS, **more: Any) -> dict[str, Any]:
        message = {
            "attempt": ids.show(row.pk), "channel": "means", "number": number, "kind": "sums",
            "body": body, **more,
        }  # fmt: skip
        answer = self.call("channels/post", {"messages": [message]})
        assert answer.status_code == 200, answer.content
        [result] = answer.json()["results"]
        return dict(result)

    def hear(self, row: Attempt, after: int = 0, wait: float = 0.0) -> dict[str, Any]:
        want = {"attempt": ids.show(row.pk), "channel": "means", "after": after}
        answer = self.call("channels/read", {"wants": [want], "wait": wait})
        assert answer.status_code == 200, answer.content
        return dict(answer.json())
