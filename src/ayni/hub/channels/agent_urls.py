"""What agents call about channels, beneath /agent/v1/channels/."""

from __future__ import annotations

from django.urls import URLPattern, URLResolver, path

from ayni.hub.channels import agent_views
from ayni.hub.http import methods

urlpatterns: list[URLPattern | URLResolver] = [
    path("post", methods(POST=agent_views.posting)),
    path("read", methods(POST=agent_views.reading)),
    path("charter", methods(POST=agent_views.charter)),
    path("blob", methods(POST=agent_views.blob)),
]
