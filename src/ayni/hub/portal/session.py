"""Signing in with a token: the browser's session names the token's row, never its secret.

The row is asked at every request, so a revocation, an expiry or a ban ends the session at once. A
sign-in by another provider will fill the same session.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate

from django.core.cache import cache
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import urlencode
from django.views.decorators.cache import never_cache

from ayni.hub.accounts.tokens import Caller, admit, digest, valid_token
from ayni.hub.http import ProblemError

KEY = "ayni_token"
MOST_FAILURES = 10  # from one address …
WINDOW = 600  # … in so many seconds

_UNASKED = object()


def sign_in(request: HttpRequest, secret: str) -> Caller:
    """Bind the session to the token.

    Raises:
        ProblemError: as `accounts.tokens.caller`.
    """
    caller = admit(valid_token(digest=digest(secret)))
    request.session.flush()  # nothing of whoever was here before
    request.session[KEY] = caller.token.pk
    request.session.set_expiry(caller.token.expires)
    return caller


def sign_out(request: HttpRequest) -> None:
    request.session.flush()


def current(request: HttpRequest) -> Caller | None:
    """Who is signed in; a session whose token no longer holds is ended."""
    known = getattr(request, "_ayni_caller", _UNASKED)
    if known is _UNASKED:
        known = _look_up(request)
        request._ayni_caller = known  # type: ignore[attr-defined]
    return known  # type: ignore[return-value]


def _look_up(request: HttpRequest) -> Caller | None:
    session = getattr(request, "session", None)
    if session is None or (pk := session.get(KEY)) is None:
        return None
    try:
        return admit(valid_token(pk=pk))
    except ProblemError:
        sign_out(request)
        return None


View = Callable[Concatenate[HttpRequest, Caller, ...], HttpResponse]


def signed_in(*scopes: str) -> Callable[[View], Callable[..., HttpResponse]]:
    """The view is called as `view(request, caller, …)`; others are sent to the sign-in page."""

    def decorate(view: View) -> Callable[..., HttpResponse]:
        @never_cache
        @wraps(view)
        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            caller = current(request)
            if caller is None:
                return _to_sign_in(request)
            if missing := [scope for scope in scopes if scope not in caller.scopes]:
                return render(request, "portal/scope.html", {"missing": missing}, status=403)
            return view(request, caller, *args, **kwargs)

        return guarded

    return decorate


def _to_sign_in(request: HttpRequest) -> HttpResponse:
    wanted = request.get_full_path() if request.method == "GET" else "/"
    if getattr(request, "htmx", False):  # a part was asked for: send the whole page there
        answer = HttpResponse(status=204)
        answer["HX-Redirect"] = reverse("portal:sign_in")
        return answer
    return redirect(f"{reverse('portal:sign_in')}?{urlencode({'next': wanted})}")


# --- guessing is slow ---------------------------------------------------------------------------


def _counter(request: HttpRequest) -> str:
    return f"portal:failures:{request.META.get('REMOTE_ADDR', '')}"


def too_many_failures(request: HttpRequest) -> bool:
    count: int = cache.get(_counter(request), 0)
    return count >= MOST_FAILURES


def count_failure(request: HttpRequest) -> None:
    key = _counter(request)
    if not cache.add(key, 1, WINDOW):
        try:
            cache.incr(key)
        except ValueError:  # it expired between the two
            cache.set(key, 1, WINDOW)
