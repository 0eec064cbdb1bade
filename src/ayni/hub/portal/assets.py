"""Our own static files, straight from the installed package: nothing to collect, nothing to build.

They are few and small, and an address with a fingerprint may be kept for a year. An installation with
a web server in front may serve STATIC_URL from there instead (`collectstatic`).
"""

from __future__ import annotations

import mimetypes
from pathlib import Path

from django.contrib.staticfiles import finders
from django.core.exceptions import SuspiciousFileOperation
from django.http import FileResponse, Http404, HttpRequest, HttpResponseBase
from django.views.decorators.http import require_safe


@require_safe
def asset(request: HttpRequest, path: str) -> HttpResponseBase:
    try:
        found = finders.find(path)
    except SuspiciousFileOperation as error:  # it leaves the static folders
        raise Http404(path) from error
    if not isinstance(found, str) or not Path(found).is_file():
        raise Http404(path)
    kind, _ = mimetypes.guess_type(found)
    file = Path(found).open("rb")  # noqa: SIM115  the response closes it
    response = FileResponse(file, content_type=kind or "application/octet-stream")
    lasting = (
        "public, max-age=31536000, immutable" if "v" in request.GET else "public, max-age=3600"
    )
    response["Cache-Control"] = lasting
    return response
