"""Tasks and arrays in Django's admin: to look at, never to change. Their life is `tasks.life`."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from ayni.hub.tasks import ids
from ayni.hub.tasks.models import Array, Notice, Task


class LookOnly(admin.ModelAdmin):  # type: ignore[type-arg]
    show_full_result_count = False  # counting a million rows takes longer than showing a page

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @admin.display(description="id")
    def shown(self, row: Task | Array) -> str:
        return ids.show(row.pk)


@admin.register(Task)
class TaskAdmin(LookOnly):
    list_display = ("shown", "name", "project", "person", "state", "created", "ended")
    list_select_related = ("project", "person")
    list_filter = ("project",)
    ordering = ("-id",)


@admin.register(Array)
class ArrayAdmin(LookOnly):
    list_display = ("shown", "name", "project", "size", "created", "ended")
    list_select_related = ("project",)
    ordering = ("-id",)


@admin.register(Notice)
class NoticeAdmin(LookOnly):
    list_display = ("id", "kind", "target", "tries", "due", "sent", "error")
    ordering = ("-id",)
