"""What every page knows: who is signed in, and the languages."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from ayni.hub.portal.session import current


def portal(request: HttpRequest) -> dict[str, Any]:
    return {
        "who": SimpleLazyObject(lambda: current(request)),
        "languages": settings.LANGUAGES,
        # After a change of language a person stays where they are; POSTed pages go home.
        "here": request.get_full_path() if request.method == "GET" else "/",
    }
