"""What agents call about files, beneath /agent/v1/."""

from __future__ import annotations

from django.urls import URLPattern, URLResolver, path

from ayni.hub.http import methods
from ayni.hub.store import agent_views

urlpatterns: list[URLPattern | URLResolver] = [
    path("inputs", methods(POST=agent_views.inputs)),
    path("uploads", methods(POST=agent_views.uploads)),
]
