"""Addresses that people see, in Spanish whatever the page's language: they do not change."""

from __future__ import annotations

from django.urls import path
from django.views.i18n import set_language

from ayni.hub.portal.assets import asset
from ayni.hub.portal.views import datasets, entry, files, home, pages

app_name = "portal"

urlpatterns = [
    path("", home.home, name="home"),
    path("entrar", entry.sign_in, name="sign_in"),
    path("salir", entry.sign_out, name="sign_out"),
    path("idioma", set_language, name="set_language"),
    path("archivos", files.files, name="files"),
    path("archivos/<path:prefix>", files.files, name="folder"),
    path("archivos/bajar/<path:path>", files.files, name="download"),
    path("datos", datasets.datasets, name="datasets"),
    path("uso-responsable", pages.responsible, name="responsible"),
    path("static/<path:path>", asset, name="asset"),
    path("tareas", files.files, name="tasks"),
]
