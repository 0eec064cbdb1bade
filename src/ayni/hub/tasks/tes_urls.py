"""The addresses of GA4GH TES 1.1; the hub has them on this one path only."""

from __future__ import annotations

from django.urls import path

from ayni.hub.http import methods
from ayni.hub.tasks import tes_views as views

urlpatterns = [
    path("service-info", methods(GET=views.service_info)),
    path("tasks", methods(GET=views.list_tasks, POST=views.new_task)),
    path("tasks/<str:id>:cancel", methods(POST=views.cancel_task)),
    path("tasks/<str:id>", methods(GET=views.get_task)),
]
