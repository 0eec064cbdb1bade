"""Sites as the hub knows them: who they are, and what their agents last said."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _


class Hub(models.Model):
    """One row: this hub's own identity."""

    epoch = models.CharField(max_length=32)  # changes when its database was restored
    secret = models.CharField(max_length=64)  # signs the store's URLs


class Site(models.Model):
    """A supercomputing centre that offers capacity. Its name shares a namespace with projects."""

    name = models.SlugField(_("nombre"), max_length=63, unique=True)
    title = models.CharField(_("título"), max_length=200)
    institution = models.ForeignKey(
        "accounts.Institution", on_delete=models.PROTECT, related_name="sites"
    )
    latitude = models.FloatField(null=True, blank=True)
    longitude = models.FloatField(null=True, blank=True)
    banned_at = models.DateTimeField(null=True, blank=True)
    banned_why = models.CharField(max_length=500, blank=True)
    draining = models.BooleanField(default=False)

    # Registration: a code that may be used once, kept as its SHA-256.
    code_digest = models.CharField(max_length=64, blank=True)
    code_expires = models.DateTimeField(null=True, blank=True)

    # protocol.exchange.SiteMemory
    incarnation = models.CharField(max_length=64, null=True, blank=True)
    generation = models.PositiveIntegerField(default=0)
    session = models.CharField(max_length=64, blank=True)
    number = models.PositiveIntegerField(default=0)
    acknowledged = models.BigIntegerField(default=0)

    # What the agent last said: protocol.messages.SiteStatus
    status = models.JSONField(null=True, blank=True)
    status_at = models.DateTimeField(null=True, blank=True)
    last_seen = models.DateTimeField(null=True, blank=True)
    created = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return self.name


class Wait(models.Model):
    """How long attempts of one size waited in a partition, and how far off their foreseen start was.

    Moving means, apart for each way in which a start was known. See `network.waits`.
    """

    site = models.ForeignKey(Site, on_delete=models.CASCADE, related_name="waits")
    partition = models.CharField(max_length=64)
    size = models.CharField(max_length=80)  # tes.size.Size, as text
    source = models.CharField(max_length=16)  # broker.foresight.Source
    count = models.BigIntegerField(default=0)
    wait = models.FloatField(default=0.0)  # seconds
    error = models.FloatField(default=0.0)  # seconds, without its sign
    at = models.DateTimeField()  # of the last start

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["site", "partition", "size", "source"], name="wait_of_size"
            )
        ]
