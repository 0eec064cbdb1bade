"""A column for paths, compared byte by byte on every database.

Listing a prefix is a range of the index; that is only so if the order is that of the bytes. SQLite
compares so by itself, PostgreSQL by the collation "C" (its default ignores "/" in most locales).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import models

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

    CharField = models.CharField[str, str]
else:
    CharField = models.CharField


class PathField(CharField):
    def db_parameters(self, connection: BaseDatabaseWrapper) -> dict[str, Any]:
        parameters: dict[str, Any] = dict(super().db_parameters(connection))
        if connection.vendor == "postgresql":
            parameters["collation"] = "C"
        return parameters
