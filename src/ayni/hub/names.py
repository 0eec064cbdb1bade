"""Names of projects and sites: one namespace, since both stand first in an `ayni://` URL."""

from __future__ import annotations

from django.db.models import Model

from ayni.errors import UserError
from ayni.tes.urls import valid_name


def check_name(name: str, *taken_by: type[Model], where: str = "") -> None:
    """Refuse a name that is no name, or that one of `taken_by` has; `where` begins the message.

    Raises:
        UserError: so it is.
    """
    if not valid_name(name):
        raise UserError(
            f"{where}{name!r} is no name; use small letters, digits and '-', at most 63"
        )
    if any(rows._default_manager.filter(name=name).exists() for rows in taken_by):
        raise UserError(f"{where}{name!r} is taken; projects and sites share their names")
