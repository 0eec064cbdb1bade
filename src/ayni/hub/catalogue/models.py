"""Datasets: named, versioned files with a licence, a residency and a release."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _


class Residency(models.TextChoices):
    """Where the bytes may be."""

    SITE = "site", _("solo en su sitio")
    MEMBER = "member", _("solo en su país")
    ANY = "any", _("en cualquier parte")


class Release(models.TextChoices):
    """What may leave a task that read the dataset."""

    NOTHING = "nothing", _("nada")
    AGGREGATE = "aggregate", _("agregados hasta un tamaño")
    ANYTHING = "anything", _("todo")


class Dataset(models.Model):
    """Held by a site (its own store, never the hub) or by a project (project files at the hub)."""

    name = models.SlugField(_("nombre"), max_length=63)
    version = models.CharField(_("versión"), max_length=40)
    title = models.CharField(_("título"), max_length=200, blank=True)
    licence = models.CharField(_("licencia"), max_length=100)
    site = models.ForeignKey(
        "network.Site", on_delete=models.CASCADE, null=True, blank=True, related_name="datasets"
    )
    project = models.ForeignKey(
        "calls.Project", on_delete=models.CASCADE, null=True, blank=True, related_name="datasets"
    )
    prefix = models.CharField(max_length=1024, blank=True)  # of a project's files
    size = models.BigIntegerField(default=0)
    files = models.IntegerField(default=0)
    sha256 = models.CharField(max_length=64, blank=True)  # of the manifest
    residency = models.CharField(max_length=10, choices=Residency.choices, default=Residency.SITE)
    release = models.CharField(max_length=10, choices=Release.choices, default=Release.NOTHING)
    release_limit = models.BigIntegerField(default=0)  # bytes a task, for aggregates
    channels = models.JSONField(default=list)  # PROJECT/CHANNEL: by these alone it may be sent
    channel_limit = models.BigIntegerField(default=0)  # bytes a task
    inner_network = models.BooleanField(
        default=False
    )  # for tasks over several nodes, between these
    present = models.BooleanField(default=True)  # still at its site
    created = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["site", "name"], name="dataset_name_at_site"),
            models.UniqueConstraint(fields=["project", "name"], name="dataset_name_in_project"),
        ]

    def __str__(self) -> str:
        return self.name


class Volume(models.Model):
    """Room of a project at a site, as the site last told of it; its bytes are only there."""

    uid = models.CharField(max_length=64)  # the site's own name of this one
    site = models.ForeignKey("network.Site", on_delete=models.CASCADE, related_name="volumes")
    project = models.ForeignKey("calls.Project", on_delete=models.CASCADE, related_name="volumes")
    name = models.CharField(max_length=63)
    size = models.BigIntegerField(default=0)
    created = models.DateTimeField()
    used = models.DateTimeField()
    mounted = models.BooleanField(default=False)
    release = models.CharField(max_length=10, choices=Release.choices, default=Release.ANYTHING)
    release_limit = models.BigIntegerField(default=0)
    dataset = models.CharField(max_length=63, blank=True)  # by which the release is bounded
    gates = models.JSONField(default=list)  # what may leave by channels: protocol.release.Gate
    remove = models.BooleanField(default=False)  # somebody of the project wants it gone

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["site", "project", "name"], name="volume_name"),
        ]
        indexes = [
            models.Index(fields=["site"], name="volume_orders", condition=models.Q(remove=True)),
        ]

    def __str__(self) -> str:
        return self.name
