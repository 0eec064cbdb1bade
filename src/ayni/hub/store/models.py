"""Project files: a file is a pointer to a committed upload; an upload is a manifest of blocks.

Blocks lie in the store under `PROJECT/UPLOAD/N` (`keys`). Writing never touches what is committed:
committing switches one pointer, and the old upload is swept later.
"""

from __future__ import annotations

from django.db import models

from ayni.hub.store.fields import PathField


class Upload(models.Model):
    """Bytes on their way in, or committed."""

    id = models.CharField(max_length=40, primary_key=True)  # random
    project = models.ForeignKey("calls.Project", on_delete=models.CASCADE, related_name="uploads")
    path = PathField(max_length=1024)
    attempt = models.ForeignKey(
        "tasks.Attempt", on_delete=models.SET_NULL, null=True, related_name="uploads"
    )
    size = models.BigIntegerField()
    sha256 = models.CharField(max_length=64)  # of the whole
    block_size = models.IntegerField()
    blocks = models.JSONField()  # SHA-256 of each block, in order
    checked = models.IntegerField(default=0)  # blocks below this number are in the store and right
    verified = models.BooleanField(default=False)  # all of them are
    dead = models.BooleanField(default=False)  # no longer counted; swept when it expires
    created = models.DateTimeField(auto_now_add=True)
    expires = models.DateTimeField(null=True)  # None: committed

    class Meta:
        indexes = [
            models.Index(
                fields=["dead", "expires"],
                name="upload_sweep",
                condition=models.Q(expires__isnull=False),
            ),
            models.Index(fields=["project", "path"], name="upload_path"),
        ]


class File(models.Model):
    """A name in a project, pointing at what was committed last."""

    project = models.ForeignKey("calls.Project", on_delete=models.CASCADE, related_name="files")
    path = PathField(max_length=1024)
    upload = models.ForeignKey(Upload, on_delete=models.RESTRICT, related_name="files")
    size = models.BigIntegerField()
    modified = models.DateTimeField()
    expires = models.DateTimeField(null=True)  # logs and the like; None: kept

    class Meta:
        constraints = [models.UniqueConstraint(fields=["project", "path"], name="file_path")]
        indexes = [
            models.Index(
                fields=["expires"], name="file_sweep", condition=models.Q(expires__isnull=False)
            ),
        ]


class Space(models.Model):
    """What a project's live uploads take, declared or committed. Its row is the lock of its files."""

    project = models.OneToOneField(
        "calls.Project", on_delete=models.CASCADE, primary_key=True, related_name="space"
    )
    used = models.BigIntegerField(default=0)  # bytes
