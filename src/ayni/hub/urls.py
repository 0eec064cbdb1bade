"""Every address of the hub, by subject. TES stands on one path only."""

from __future__ import annotations

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path

from ayni.hub.api import build
from ayni.hub.http import methods
from ayni.hub.tasks import tes_openapi

urlpatterns: list[URLPattern | URLResolver] = [
    path("api/v1/tes-openapi.json", methods(GET=tes_openapi.serve)),
    path("api/v1/", build().urls),
    path("ga4gh/tes/v1/", include("ayni.hub.tasks.tes_urls")),
    path("agent/v1/", include("ayni.hub.network.agent_urls")),
    path("admin/", admin.site.urls),
    path("", include("ayni.hub.portal.urls")),
]
