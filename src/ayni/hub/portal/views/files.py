"""The project's files, folder by folder."""

from __future__ import annotations

from urllib.parse import urlencode

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_safe

from ayni.hub.accounts.tokens import Caller
from ayni.hub.portal import folder
from ayni.hub.portal.session import signed_in
from ayni.hub.store import quota
from ayni.hub.store.files import manifests
from ayni.hub.store.models import File


@require_safe
@signed_in("store:read")
def files(request: HttpRequest, caller: Caller, prefix: str = "") -> HttpResponse:
    """One folder: its folders, a page of its files, and how full the project is."""
    project = caller.project
    if prefix and not prefix.endswith("/"):
        return redirect("portal:folder", f"{prefix}/")
    after = request.GET.get("after", "").replace("\0", "")
    page, more = folder.files(project, prefix, after)
    folders = [] if after else folder.folders(project, prefix)
    if prefix and not folders and not page and not after:
        raise Http404(prefix)
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
            "used": quota.used(project),
        },
    )


@require_safe
@signed_in("store:read")
def download(request: HttpRequest, caller: Caller, path: str) -> HttpResponse:
    """To the file itself, by a signed URL; a file of several blocks is offered block by block."""
    rows = File.objects.filter(project=caller.project, path=path).select_related("upload")
    file = rows.first()
    if file is None:
        raise Http404(path)
    [manifest] = manifests([file])
    name = path.rpartition("/")[2]
    if len(manifest["blocks"]) == 1:
        return redirect(_named(manifest["blocks"][0]["url"], name))
    context = {
        "section": "files",
        "name": name,
        "address": f"ayni://{caller.project.name}/{path}",
        "blocks": [
            {**b, "url": _named(b["url"], f"{name}.{b['n']:04}")} for b in manifest["blocks"]
        ],
        "manifest": manifest,
    }
    return render(request, "portal/download.html", context)


def _named(url: str, name: str) -> str:
    """Our own file server saves under this name; S3's URLs may not be added to."""
    return f"{url}&{urlencode({'name': name})}" if url.startswith(settings.FILES_URL) else url


def _crumbs(prefix: str) -> list[tuple[str, str]]:
    """Name and path of each folder on the way."""
    names = prefix.split("/")[:-1]
    return [(name, "/".join(names[: n + 1]) + "/") for n, name in enumerate(names)]
