"""Every address of the hub, by subject. TES stands on one path only."""

from __future__ import annotations

from importlib.util import find_spec

from django.urls import URLPattern, URLResolver, include, path

from ayni.hub.api import build

urlpatterns: list[URLPattern | URLResolver] = [
    path("api/v1/", build().urls),
]
if find_spec("ayni.hub.tasks.tes_urls"):
    urlpatterns.append(path("ga4gh/tes/v1/", include("ayni.hub.tasks.tes_urls")))
if find_spec("ayni.hub.network.agent_urls"):
    urlpatterns.append(path("agent/v1/", include("ayni.hub.network.agent_urls")))
urlpatterns.append(path("", include("ayni.hub.portal.urls")))
