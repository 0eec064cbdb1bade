"""What was consumed, as the sites' schedulers measured it."""

from __future__ import annotations

from django.db import models


class UsageRecord(models.Model):
    """One attempt's consumption; also of attempts that were given up. Booked exactly once.

    First as its supervisor measured it; where the site's scheduler keeps accounts, what those say was
    allocated takes the place of cores × wall as soon as they say it, and `allocated` is true.
    """

    attempt = models.OneToOneField("tasks.Attempt", on_delete=models.PROTECT, related_name="usage")
    project = models.ForeignKey("calls.Project", on_delete=models.PROTECT, related_name="usage")
    site = models.ForeignKey("network.Site", on_delete=models.PROTECT, related_name="usage")
    giver = models.ForeignKey(  # the site's member when it was booked
        "accounts.Member", on_delete=models.PROTECT, related_name="+"
    )
    receiver = models.ForeignKey(  # the project's member when it was booked
        "accounts.Member", on_delete=models.PROTECT, related_name="+"
    )
    job = models.CharField(max_length=100)  # the scheduler's id; attempts may share a job …
    submitted = models.DateTimeField(null=True)  # … which, with this, is never given twice
    cores = models.IntegerField()
    nodes = models.IntegerField(default=1)
    gpus = models.IntegerField(default=0)
    wall = models.FloatField()  # seconds
    cpu = models.FloatField()  # seconds
    core_seconds = models.FloatField()  # allocated: cores × wall, or as the accounts say
    node_seconds = models.FloatField(default=0.0)
    gpu_seconds = models.FloatField(default=0.0)
    memory_seconds = models.FloatField(default=0.0)  # byte seconds; 0: not known
    allocated = models.BooleanField(default=False)  # by the scheduler's own accounts
    peak_memory = models.BigIntegerField()  # bytes
    queue_wait = models.FloatField(default=0.0)  # seconds
    ended = models.DateTimeField()
    superseded = models.BooleanField(default=False)

    class Meta:
        indexes = [models.Index(fields=["project", "ended"], name="usage_project_ended")]
