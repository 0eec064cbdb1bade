"""Channels, their messages, and the sites that listen to them."""

from __future__ import annotations

from functools import cached_property

from django.conf import settings
from django.db import models

from ayni.protocol import charters
from ayni.protocol.channels import Schema


class Channel(models.Model):
    """A project's list of messages. Its row is the lock under which numbers are given."""

    project = models.ForeignKey("calls.Project", on_delete=models.CASCADE, related_name="channels")
    name = models.CharField(max_length=63)
    schema = models.JSONField()  # protocol.channels.Schema; never changed
    retention = models.PositiveIntegerField()  # days that messages are kept
    charter = models.TextField(blank=True)  # what sites' operators must accept; never changed
    person = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    last = models.BigIntegerField(default=0)  # the number of its newest message
    created = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["project", "name"], name="channel_name")]

    def __str__(self) -> str:
        return self.name

    @cached_property
    def rules(self) -> Schema:
        return Schema.model_validate(self.schema, strict=False)

    @cached_property
    def charter_digest(self) -> str | None:
        """By what the charter is named; None: there is none."""
        return charters.digest(self.charter) if self.charter else None


class Message(models.Model):
    """One message. `sender` and `key` together are given once, so that it may be sent again."""

    channel = models.ForeignKey(Channel, on_delete=models.CASCADE, related_name="messages")
    sequence = models.BigIntegerField()
    sender = models.CharField(max_length=24)  # a: an attempt's number; p: a person's
    key = models.CharField(max_length=64)  # the sender's own
    site = models.ForeignKey("network.Site", on_delete=models.SET_NULL, null=True, related_name="+")
    task = models.BigIntegerField(null=True)  # tasks.ids
    attempt = models.BigIntegerField(null=True)
    person = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+"
    )
    kind = models.CharField(max_length=63)
    body = models.TextField()  # protocol.channels.canonical
    blob_size = models.BigIntegerField(null=True)
    blob_sha256 = models.CharField(max_length=64, blank=True)
    digest = models.CharField(max_length=64)  # protocol.channels.digest
    signature = models.CharField(max_length=128, blank=True)  # the site's; readers check it
    size = models.BigIntegerField()  # protocol.channels.cost
    created = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["channel", "sequence"], name="message_sequence"),
            models.UniqueConstraint(fields=["channel", "sender", "key"], name="message_once"),
        ]
        indexes = [
            models.Index(fields=["channel", "sender", "-sequence"], name="message_sender"),
            models.Index(
                fields=["channel", "task"],
                name="message_task",
                condition=models.Q(task__isnull=False),
            ),
            models.Index(fields=["created"], name="message_age"),
        ]


class Asking(models.Model):
    """A channel whose charter waits for the answer of a site's operator. See `network.asking`."""

    site = models.ForeignKey("network.Site", on_delete=models.CASCADE, related_name="+")
    channel = models.ForeignKey(Channel, on_delete=models.CASCADE, related_name="+")
    person = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    digest = models.CharField(max_length=64)  # of the charter
    since = models.DateTimeField()  # tasks wait that use the channel
    known = models.BooleanField()  # the site's agent says that it has the text

    class Meta:
        constraints = [models.UniqueConstraint(fields=["site", "channel"], name="asking_once")]


class Listener(models.Model):
    """A site whose tasks read a channel: it is woken when there is something new."""

    channel = models.ForeignKey(Channel, on_delete=models.CASCADE, related_name="listeners")
    site = models.ForeignKey("network.Site", on_delete=models.CASCADE, related_name="+")
    seen = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["channel", "site"], name="listener_once")]
