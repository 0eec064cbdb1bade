"""A project's files over our own API."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import datetime
from typing import Annotated, Any

from django.http import HttpRequest
from ninja import Query, Router, Schema, Status
from pydantic import ConfigDict, Field

from ayni.hub.accounts.tokens import caller
from ayni.hub.http import ProblemError, field_problem
from ayni.hub.store import commit, files, keys, paths, quota, uploads
from ayni.hub.store.declaration import Blocks, Declaration, Refused
from ayni.hub.store.models import File, Upload

router = Router(tags=["files"])

PAGE = 1000
Text = Annotated[str, Field(max_length=4096)]


class Asked(Schema):
    model_config = ConfigDict(extra="forbid")


class FilesAsked(Asked):
    prefix: Text = ""
    page_size: Annotated[int, Field(ge=1, le=PAGE)] = 256
    page_token: Text = ""


class ManifestAsked(Asked):
    path: Text


class DeleteAsked(Asked):
    """One file, or a folder with all that is in it."""

    path: Text = ""
    prefix: Text = ""


class FileOut(Schema):
    path: str
    size: int
    sha256: str
    modified: datetime


class FilesOut(Schema):
    files: list[FileOut]
    next_page_token: str | None
    used: int  # bytes that count against the quota, unfinished uploads too
    quota: int


class BlockOut(Schema):
    n: int
    size: int
    sha256: str
    url: str


class ManifestOut(Schema):
    path: str
    size: int
    sha256: str
    block_size: int
    blocks: list[BlockOut]


class UploadIn(Blocks):
    path: str = Field(min_length=1, max_length=4096)


class MissingOut(Schema):
    n: int
    url: str


class UploadOut(Schema):
    upload: str
    missing: list[MissingOut]  # may be a first part: declare again when these are sent
    ready: bool  # all is there and verified: commit


class CommittedOut(Schema):
    path: str
    size: int
    sha256: str


class VerifyingOut(Schema):
    """All is there, and being verified: commit again."""

    upload: str
    verified: int  # blocks
    blocks: int


class DeletedOut(Schema):
    deleted: int


@router.get("/files", response=FilesOut, summary="The project's files by path")
def list_files(request: HttpRequest, asked: Query[FilesAsked]) -> dict[str, Any]:
    """Files of which the path begins with `prefix`; those of the system (`.ayni/`) only if it
    names them."""
    project = caller(request, "store:read").project
    found = files.of(project, paths.any_prefix("prefix", asked.prefix)).select_related("upload")
    if asked.page_token:
        found = found.filter(path__gt=_after(asked.page_token))
    size = asked.page_size
    page = list(found.defer("upload__blocks")[: size + 1])
    more = len(page) > size
    return {
        "files": [files.card(file) for file in page[:size]],
        "next_page_token": _token(page[size - 1].path) if more else None,
        "used": quota.used(project),
        "quota": project.quota,
    }


@router.get("/files/manifest", response=ManifestOut, summary="Where a file's blocks are")
def manifest(request: HttpRequest, asked: Query[ManifestAsked]) -> Any:
    """Signed URLs of the blocks; good for an hour, then ask again."""
    project = caller(request, "store:read").project
    clean = paths.readable("path", asked.path)
    file = File.objects.filter(project=project, path=clean).select_related("upload").first()
    if file is None:
        raise ProblemError(404, "No such file", f"project {project.name} has no file {clean}")
    [found] = files.manifests([file])
    return found


@router.delete(
    "/files", response=DeletedOut, summary="Delete a file, or all files beneath a folder"
)
def delete_files(request: HttpRequest, asked: Query[DeleteAsked]) -> dict[str, int]:
    """Give `path` for one file, or `prefix` for a folder with all that is in it."""
    project = caller(request, "store:write").project
    if unknown := request.GET.keys() - DeleteAsked.model_fields.keys():
        # ninja passes over what it does not know; deleting something else would be worse
        raise field_problem(min(unknown), "is no parameter here; give 'path' or 'prefix'")
    if bool(asked.path) == bool(asked.prefix):
        raise field_problem("path", "give either 'path' (one file) or 'prefix' (a folder)")
    if asked.path:
        clean = paths.readable("path", asked.path)
        deleted = files.delete(project, File.objects.filter(project=project, path=clean))
        if not deleted:
            raise ProblemError(404, "No such file", f"project {project.name} has no file {clean}")
        return {"deleted": deleted}
    folder = paths.readable("prefix", asked.prefix)
    if not folder:
        raise field_problem("prefix", "names no folder; delete the folders one by one")
    return {"deleted": files.delete(project, files.beneath(project, folder))}


@router.post("/uploads", response={201: UploadOut}, summary="Declare a file, or go on with it")
def declare(request: HttpRequest, body: UploadIn) -> Status[dict[str, Any]]:
    """Send each missing block by one PUT to its URL, declare again until `ready`, then commit.
    The same declaration again goes on where it was."""
    project = caller(request, "store:write").project
    path = paths.writable("path", body.path)
    [outcome] = uploads.declare([Declaration(project, path, body)])
    if isinstance(outcome, Refused):
        raise _problem(outcome)
    [standing] = uploads.standings([outcome])
    missing = [{"n": n, "url": url} for n, url in standing.missing]
    answer = {"upload": standing.upload, "missing": missing, "ready": standing.ready}
    return Status(201, answer)


@router.post(
    "/uploads/{upload}/commit",
    response={200: CommittedOut, 202: VerifyingOut},
    summary="Put an upload in its file's place",
)
def commit_upload(request: HttpRequest, upload: str) -> Status[dict[str, Any]]:
    """The file is replaced at once and as a whole. May be repeated."""
    project = caller(request, "store:write").project
    found = None
    if keys.is_upload(upload):
        found = Upload.objects.filter(pk=upload, project=project, attempt=None).first()
    if found is None or paths.is_system(found.path):  # a message's blob is committed with it
        raise ProblemError(404, "No such upload", "declare the file first: POST /uploads")
    if found.dead:
        raise ProblemError(409, "Upload given up", "it was replaced or too old; declare it again")
    [standing] = uploads.standings([found])
    if standing.missing:
        numbers = [n for n, _ in standing.missing]
        raise ProblemError(
            409,
            "Blocks are missing",
            f"blocks {', '.join(map(str, numbers[:20]))}{' …' if len(numbers) > 20 else ''} are not "
            "in the store; declare the file again to get their URLs",
            missing=numbers,
        )
    if not standing.ready:
        progress = {"upload": upload, "verified": found.checked, "blocks": len(found.blocks)}
        return Status(202, progress)
    try:
        file = commit.commit(found)
    except Refused as refused:
        raise _problem(refused) from refused
    return Status(200, {"path": file.path, "size": file.size, "sha256": found.sha256})


def _problem(refused: Refused) -> ProblemError:
    titles = {"quota": "Over the quota", "taken": "The path is taken"}
    title = titles.get(refused.code, "It cannot be done")
    return ProblemError(refused.status, title, str(refused), code=refused.code)


def _token(path: str) -> str:
    return urlsafe_b64encode(path.encode()).rstrip(b"=").decode()


def _after(token: str) -> str:
    try:
        path = urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode()
    except ValueError:
        path = "\0"
    if "\0" in path:
        raise field_problem("page_token", "is none of ours; leave it out to begin anew")
    return path
