"""What agents call, beneath /agent/v1/."""

from __future__ import annotations

from django.urls import URLPattern, URLResolver, include, path

from ayni.hub.ledger import views as ledger
from ayni.hub.network import views

urlpatterns: list[URLPattern | URLResolver] = [
    path("register", views.register),
    path("sync", views.sync),
    path("books", ledger.books),
    path("", include("ayni.hub.store.agent_urls")),
    path("channels/", include("ayni.hub.channels.agent_urls")),
]
