"""The project's files, folder by folder."""

from __future__ import annotations

from django.db.models import Sum
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from ayni.hub.accounts.tokens import Caller
from ayni.hub.portal import folder
from ayni.hub.portal.session import signed_in
from ayni.hub.store.models import File


@require_safe
@signed_in("store:read")
def files(request: HttpRequest, caller: Caller, prefix: str = "") -> HttpResponse:
    """One folder: its folders, a page of its files, and how full the project is."""
    project = caller.project
    after = request.GET.get("after", "")
    page, more = folder.files(project, prefix, after)
    folders = [] if after else folder.folders(project, prefix)
    if prefix and not folders and not page and not after:
        raise Http404(prefix)
    used = File.objects.filter(project=project).aggregate(used=Sum("size"))["used"] or 0
    return render(
        request,
        "portal/files.html",
        {
            "section": "files",
            "project": project,
            "prefix": prefix,
            "crumbs": _crumbs(prefix),
            "folders": folders,
            "files": page,
            "more": more,
            "used": used,
        },
    )


def _crumbs(prefix: str) -> list[tuple[str, str]]:
    """Name and path of each folder on the way."""
    names = prefix.split("/")[:-1]
    return [(name, "/".join(names[: n + 1]) + "/") for n, name in enumerate(names)]
