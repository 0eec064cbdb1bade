"""Projects and who is in them."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _


class Project(models.Model):
    """People working on one thing: the unit of access. Its name shares a namespace with sites."""

    name = models.SlugField(_("nombre"), max_length=63, unique=True)
    title = models.CharField(_("título"), max_length=200)
    institution = models.ForeignKey(
        "accounts.Institution", on_delete=models.PROTECT, related_name="projects"
    )
    weight = models.FloatField(default=1.0)  # its share in the broker's order
    quota = models.BigIntegerField(default=100 << 30)  # bytes of project files at the hub
    retention = models.PositiveIntegerField(default=90)  # days that logs of ended tasks are kept
    banned_at = models.DateTimeField(null=True, blank=True)
    banned_why = models.CharField(max_length=500, blank=True)
    created = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return self.name


class Membership(models.Model):
    """A person in a project."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="memberships")
    person = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="memberships"
    )
    role = models.CharField(max_length=20, default="researcher")  # or: leader

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "person"], name="one_membership_each")
        ]
