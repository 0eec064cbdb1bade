"""What staging asks the hub: where inputs lie, and where outputs may be put.

`POST /agent/v1/inputs` and `POST /agent/v1/uploads`, in batches over many attempts. The bytes
themselves go past the hub, by signed URL (`ayni.transfer`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx
from pydantic import BaseModel, ConfigDict, ValidationError

from ayni.agent.staging.errors import StagingError
from ayni.transfer import Answer, Manifest, Outgoing, TransferError
from ayni.transfer.errors import Again
from ayni.transfer.halt import Halt
from ayni.transfer.http import PASSING, Patience, patiently

T = TypeVar("T")
BATCH = 200  # questions in one request


@dataclass(frozen=True, slots=True)
class Question:
    """An input of an attempt: what files are there?"""

    attempt: str
    url: str
    type: str  # FILE or DIRECTORY


@dataclass(frozen=True, slots=True)
class Upload(Outgoing):
    """A file that an attempt made, or one of its logs (`log:N.stdout`), on its way out."""

    attempt: str
    url: str


class _Words(BaseModel):
    # A newer hub may say more; what an older agent does not know, it passes over.
    model_config = ConfigDict(extra="ignore")


class _Problem(_Words):
    code: str = "hub"
    message: str
    retryable: bool = False


class _Input(_Words):
    files: list[Manifest] = []
    problem: _Problem | None = None

    @property
    def is_put_off(self) -> bool:
        return self.problem is not None and self.problem.code == "busy"

    @property
    def outcome(self) -> list[Manifest] | StagingError:
        if self.problem is None:
            return self.files
        problem = self.problem
        return StagingError(problem.code, problem.message, retryable=problem.retryable)


class _Inputs(_Words):
    results: list[_Input]


class _Upload(_Words):
    upload: str = ""
    missing: list[dict[str, Any]] = []
    ready: bool = False
    problem: _Problem | None = None


class _Uploads(_Words):
    results: list[_Upload]


class HubFiles:
    """The hub, as staging sees it.

    Args:
        http: has the hub's address as `base_url` and the site's key in its headers.
    """

    def __init__(self, http: httpx.Client, patience: Patience | None = None) -> None:
        self._http = http
        self._patience = patience or Patience(tries=4)

    def inputs(self, questions: Sequence[Question]) -> list[list[Manifest] | StagingError]:
        """For each question, in order, the files with their blocks, or why there are none."""
        found: list[list[Manifest] | StagingError] = []
        for start in range(0, len(questions), BATCH):
            found += self._some_inputs(questions[start : start + BATCH])
        return found

    def _some_inputs(self, questions: Sequence[Question]) -> list[list[Manifest] | StagingError]:
        """Ask; where the hub put some off for being too much at once, ask for those again."""
        found: dict[int, list[Manifest] | StagingError] = {}
        while open_ := [n for n in range(len(questions)) if n not in found]:
            part = [questions[n] for n in open_]
            body = [{"attempt": q.attempt, "url": q.url, "type": q.type} for q in part]
            try:
                answer = _Inputs.model_validate(self._post("inputs", {"requests": body}))
                results = _as_many(answer.results, part)
            except (TransferError, ValidationError) as error:
                told = _unanswered(error)
                return [found.get(n, told) for n in range(len(questions))]
            put_off = {n for n, r in zip(open_, results, strict=True) if r.is_put_off}
            for n, result in zip(open_, results, strict=True):
                if n not in put_off or len(put_off) == len(open_):
                    found[n] = result.outcome
        return [found[n] for n in range(len(questions))]

    def ask(self, files: Sequence[Outgoing]) -> list[Answer | TransferError]:
        """Declare uploads, as `Mover.send_many` wants it done: an answer or an error for each."""
        uploads = [file for file in files if isinstance(file, Upload)]
        body = [
            {
                "attempt": u.attempt,
                "url": u.url,
                "size": u.described.size,
                "sha256": u.described.sha256,
                "block_size": u.described.block_size,
                "blocks": u.described.blocks,
            }
            for u in uploads
        ]
        try:
            answer = _Uploads.model_validate(self._post("uploads", {"uploads": body}))
            return [_answer(result) for result in _as_many(answer.results, files)]
        except (TransferError, ValidationError) as error:
            told = _unanswered(error)
            return [TransferError(told.message, code=told.code, retryable=True)] * len(files)

    def _post(self, what: str, body: dict[str, Any]) -> Any:
        def once() -> Any:
            try:
                response = self._http.post(f"/agent/v1/{what}", json=body)
                if response.status_code in PASSING:
                    raise Again(f"the hub answered {response.status_code}")
                if not response.is_success:
                    raise TransferError(
                        f"the hub answered {response.status_code}", code="hub", retryable=True
                    )
                return response.json()
            except httpx.HTTPError as error:
                raise Again("the hub cannot be reached") from error
            except ValueError as error:
                raise TransferError(
                    "the hub's answer cannot be read", code="hub", retryable=True
                ) from error

        return patiently(once, self._patience, Halt())


def _answer(result: _Upload) -> Answer | TransferError:
    if result.problem is not None:
        problem = result.problem
        return TransferError(problem.message, code=problem.code, retryable=problem.retryable)
    return Answer.model_validate(result.model_dump(exclude={"problem"}))


def _as_many(results: list[T], questions: Sequence[object]) -> list[T]:
    if len(results) != len(questions):
        raise TransferError("the hub answered something else than was asked", code="hub")
    return results


def _unanswered(error: Exception) -> StagingError:
    if isinstance(error, TransferError):
        return StagingError("hub", str(error), retryable=True)
    return StagingError("hub", "the hub's answer cannot be understood", retryable=True)
