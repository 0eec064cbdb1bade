"""Agents' questions about files: where inputs are, and where outputs may be sent. In batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeVar

from django.http import HttpRequest, HttpResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ayni.hub.accounts.tokens import site_caller
from ayni.hub.calls.models import Project
from ayni.hub.http import invalid, json_body, json_response
from ayni.hub.store import files
from ayni.hub.store.attempts import LiveAttempt, live
from ayni.hub.store.declaration import Blocks, Declaration, Refused
from ayni.hub.store.models import File, Upload
from ayni.hub.store.uploads import declare, standings

MOST = 1000  # questions in one request
FOLDER_FILES = 10_000
ANSWER_BLOCKS = 100_000  # in one answer; what is more must be asked again
BODY = 64 << 20

M = TypeVar("M", bound=BaseModel)
Kind = Literal["FILE", "DIRECTORY"]


class Words(BaseModel):
    # A newer agent may say more; what an older hub does not know, it passes over.
    model_config = ConfigDict(extra="ignore")


class InputRequest(Words):
    attempt: str
    url: str
    type: Kind = "FILE"


class InputsRequest(Words):
    requests: list[InputRequest] = Field(max_length=MOST)


class UploadRequest(Blocks):
    model_config = ConfigDict(extra="ignore")
    attempt: str
    url: str


class UploadsRequest(Words):
    uploads: list[UploadRequest] = Field(max_length=MOST)


def inputs(request: HttpRequest) -> HttpResponse:
    """For each input the files with their blocks, or a problem of its own."""
    site = site_caller(request)
    asked = _parse(request, InputsRequest).requests
    attempts = live(site, {q.attempt for q in asked})
    finder = _Finder()
    results = []
    for question in asked:
        about: dict[str, Any] = {"attempt": question.attempt, "url": question.url}
        try:
            attempt = _live(attempts, question.attempt)
            path = attempt.readable(question.url, question.type)
            about["files"] = finder.find(attempt.project, path, question.type)
        except Refused as refused:
            about["problem"] = _problem(refused)
        results.append(about)
    return json_response({"results": results})


def uploads(request: HttpRequest) -> HttpResponse:
    """For each declared file what to send, or that it is ready, or a problem of its own."""
    site = site_caller(request)
    asked = _parse(request, UploadsRequest).uploads
    attempts = live(site, {q.attempt for q in asked})
    outcomes: list[Declaration | Upload | Refused] = []
    for question in asked:
        try:
            attempt = _live(attempts, question.attempt)
            path = attempt.writable(question.url)
            outcomes.append(Declaration(attempt.project, path, question, attempt.id))
        except Refused as refused:
            outcomes.append(refused)
    declared = iter(declare([o for o in outcomes if isinstance(o, Declaration)]))
    outcomes = [next(declared) if isinstance(o, Declaration) else o for o in outcomes]
    made = {o.pk: o for o in outcomes if isinstance(o, Upload)}
    stand = {s.upload: s for s in standings(list(made.values()))}
    results: list[dict[str, Any]] = []
    for outcome in outcomes:
        if isinstance(outcome, Upload):
            standing = stand[outcome.pk]
            results.append(
                {
                    "upload": standing.upload,
                    "missing": [{"n": n, "url": url} for n, url in standing.missing],
                    "ready": standing.ready,
                }
            )
        elif isinstance(outcome, Refused):
            results.append({"problem": _problem(outcome)})
    return json_response({"results": results})


def _parse(request: HttpRequest, model: type[M]) -> M:
    try:
        return model.model_validate_json(json_body(request, BODY))
    except ValidationError as error:
        raise invalid(error) from error


def _live(attempts: dict[str, LiveAttempt], name: str) -> LiveAttempt:
    attempt = attempts.get(name)
    if attempt is None:
        raise Refused("unknown_attempt", "no such attempt is live at this site")
    return attempt


def _problem(refused: Refused) -> dict[str, Any]:
    return {"code": refused.code, "message": str(refused), "retryable": refused.retryable}


class _Finder:
    """Looks every input up once in a request: the tasks of an array mostly share theirs."""

    def __init__(self) -> None:
        self._found: dict[tuple[int, str, Kind], list[files.ManifestCard] | Refused] = {}
        self._blocks = 0

    def find(self, project: Project, path: str, kind: Kind) -> list[files.ManifestCard]:
        """
        Raises:
            Refused: there is no such file or folder, or the answer would be too long.
        """
        key = (project.pk, path, kind)
        if key not in self._found:
            self._found[key] = self._look(project, path, kind)
        found = self._found[key]
        if isinstance(found, Refused):
            raise found
        self._blocks += sum(len(card["blocks"]) or 1 for card in found)
        if self._blocks > ANSWER_BLOCKS:
            raise Refused("busy", "too much at once; ask for this input again", retryable=True)
        return found

    def _look(self, project: Project, path: str, kind: Kind) -> list[files.ManifestCard] | Refused:
        if kind == "FILE":
            rows = File.objects.filter(project=project, path=path)
        else:
            rows = files.beneath(project, path)
        found: Sequence[File] = list(rows.select_related("upload")[: FOLDER_FILES + 1])
        url = f"ayni://{project.name}/{path}"
        if not found:
            what = "file" if kind == "FILE" else "folder with files"
            return Refused("no_such_input", f"there is no {what} at {url}")
        if len(found) > FOLDER_FILES:
            return Refused(
                "too_many_files", f"{url} holds more than {FOLDER_FILES} files; pack them together"
            )
        return files.manifests(found, base=path)
