"""Addresses that people see, in Spanish whatever the page's language: they do not change."""

from __future__ import annotations

from django.urls import path
from django.views.i18n import set_language

from ayni.hub.portal.assets import asset
from ayni.hub.portal.views import actions, datasets, entry, files, home, logs, pages, task, tasks

app_name = "portal"

urlpatterns = [
    path("", home.home, name="home"),
    path("entrar", entry.sign_in, name="sign_in"),
    path("salir", entry.sign_out, name="sign_out"),
    path("idioma", set_language, name="set_language"),
    path("tareas", tasks.tasks, name="tasks"),
    path("tareas/<slug:shown>", task.task, name="task"),
    path("tareas/<slug:shown>/registro", logs.logs, name="log"),
    path("tareas/<slug:shown>/cancelar", actions.cancel_task, name="task_cancel"),
    path("tareas/<slug:shown>/repetir", actions.rerun_task, name="task_rerun"),
    path("lotes/<slug:shown>", tasks.array, name="array"),
    path("lotes/<slug:shown>/cancelar", actions.cancel_array, name="array_cancel"),
    path("lotes/<slug:shown>/repetir", actions.rerun_array, name="array_rerun"),
    path("archivos", files.files, name="files"),
    path("archivos/carpeta/<path:prefix>", files.files, name="folder"),
    path("archivos/bajar/<path:path>", files.download, name="download"),
    path("datos", datasets.datasets, name="datasets"),
    path("uso-responsable", pages.responsible, name="responsible"),
    path("static/<path:path>", asset, name="asset"),
]
