"""Headers that hold on every page: only our own files, in nobody's frame."""

from __future__ import annotations

from collections.abc import Callable

from django.core.exceptions import BadRequest
from django.http import HttpRequest, HttpResponse
from django.utils.cache import patch_vary_headers
from django.views.defaults import bad_request

# No inline script or style anywhere, so neither needs an exception.
CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=()",
}


class PageHeaders:
    """Middleware: `HEADERS`, unless the view has set its own."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        # No path, name or search of ours holds a NUL, and databases and disks stumble over it.
        if "\0" in request.path_info or "%00" in request.META.get("QUERY_STRING", ""):
            response: HttpResponse = bad_request(request, BadRequest("NUL"))
        else:
            response = self.get_response(request)
        patch_vary_headers(response, ["HX-Request"])  # whole pages and parts share an address
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        return response
