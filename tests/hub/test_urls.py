"""Where the hub's endpoints stand."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.urls import URLPattern, URLResolver, get_resolver

from .conftest import API, TES


def routes(at: URLResolver, before: str = "") -> Iterator[str]:
    for one in at.url_patterns:
        path = before + str(one.pattern)
        if isinstance(one, URLPattern):
            yield path
        else:
            yield from routes(one, path)


def test_tes_stands_on_one_path_only() -> None:
    everywhere = {f"/{route}" for route in routes(get_resolver())}
    tes = {route for route in everywhere if route.startswith(TES)}
    assert tes == {
        f"{TES}/service-info",
        f"{TES}/tasks",
        f"{TES}/tasks/<str:id>",
        f"{TES}/tasks/<str:id>:cancel",
    }
    likely = ("service-info", ":cancel", "ga4gh", "/tes/")
    assert not [r for r in everywhere - tes if any(word in r for word in likely)]


@pytest.mark.parametrize(
    "path",
    [
        "/service-info",
        "/v1/tasks",
        "/tes/v1/tasks",
        "/ga4gh/tes/tasks",
        "/ga4gh/tes/v1.1/tasks",
        "/ga4gh/tes/v2/tasks",
        f"{API}/service-info",
        f"{API}/tes/v1/tasks",
        f"/api{TES}/tasks",
        f"{TES}/v1/tasks",
    ],
)
def test_what_is_near_it_is_not_there(api, path: str) -> None:
    assert api.get(path).status_code == 404
    assert api.post(path, {"executors": []}).status_code in (404, 405)
