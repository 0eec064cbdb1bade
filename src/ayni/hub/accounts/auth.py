"""Our API asks who calls before it looks at anything else of a request."""

from __future__ import annotations

from typing import Any, ClassVar

from django.http import HttpRequest

from ayni.hub.accounts.tokens import Caller, caller


class Bearer:
    """The default of every operation. What it finds, `accounts.tokens.caller` gives again for free;
    operations call that with the scopes that they need."""

    openapi_security_schema: ClassVar[dict[str, Any]] = {
        "type": "http",
        "scheme": "bearer",
        "description": "A token of a person in a project. Basic, with it as password, does too.",
    }

    def __call__(self, request: HttpRequest) -> Caller:
        return caller(request)
