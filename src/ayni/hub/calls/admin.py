"""Projects and who is in them, in Django's admin."""

from __future__ import annotations

from django.contrib import admin

from ayni.hub.calls.models import Membership, Project


class MembershipInline(admin.TabularInline):  # type: ignore[type-arg]
    model = Membership
    autocomplete_fields = ("person",)
    extra = 0


@admin.register(Project)
class ProjectAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ("name", "title", "institution", "quota", "banned_at")
    search_fields = ("name", "title")
    inlines = (MembershipInline,)
