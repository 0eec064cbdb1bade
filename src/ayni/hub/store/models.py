"""Project files: a file is a pointer to a committed upload; an upload is a manifest of blocks.

Blocks lie in the store under `PROJECT/UPLOAD/N`. Writing never touches what is committed:
committing switches one pointer, and the old upload is swept later.
"""

from __future__ import annotations

from django.db import models


class Upload(models.Model):
    """Bytes on their way in, or committed."""

    id = models.CharField(max_length=40, primary_key=True)  # random
    project = models.ForeignKey("calls.Project", on_delete=models.CASCADE, related_name="uploads")
    path = models.CharField(max_length=1024)
    attempt = models.ForeignKey(
        "tasks.Attempt", on_delete=models.SET_NULL, null=True, related_name="uploads"
    )
    size = models.BigIntegerField()
    sha256 = models.CharField(max_length=64)  # of the whole
    block_size = models.IntegerField()
    blocks = models.JSONField()  # SHA-256 of each block, in order
    verified = models.BooleanField(
        default=False
    )  # every block is in the store, right hash and size
    dead = models.BooleanField(default=False)  # to be swept
    created = models.DateTimeField(auto_now_add=True)
    expires = models.DateTimeField(null=True)  # if not committed by then

    class Meta:
        indexes = [
            models.Index(fields=["dead", "expires"], name="upload_sweep"),
        ]


class File(models.Model):
    """A name in a project, pointing at what was committed last."""

    project = models.ForeignKey("calls.Project", on_delete=models.CASCADE, related_name="files")
    path = models.CharField(max_length=1024)
    upload = models.ForeignKey(Upload, on_delete=models.PROTECT, related_name="files")
    size = models.BigIntegerField()
    modified = models.DateTimeField()
    expires = models.DateTimeField(null=True)  # logs and the like; None: kept

    class Meta:
        constraints = [models.UniqueConstraint(fields=["project", "path"], name="file_path")]
