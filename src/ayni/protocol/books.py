"""What a site asks of the hub's books: `POST /agent/v1/books`. Times are Unix seconds."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ayni.protocol.messages import Message

MAX_JOBS = 1000  # in one question


class JobKey(Message):
    """A job of the site's scheduler: its id, and its time of submission, since ids come again."""

    job: Annotated[str, Field(max_length=100)]
    submitted: Annotated[float, Field(ge=0, le=32503680000)]


class BooksRequest(Message):
    jobs: Annotated[list[JobKey], Field(max_length=MAX_JOBS)]


class Booked(Message):
    """What is booked of a job, over all attempts that shared it. Seconds."""

    job: str
    submitted: float
    attempts: int
    core_seconds: float
    node_seconds: float
    gpu_seconds: float


class BooksReply(Message):
    """Jobs of which nothing is booked are left out."""

    jobs: list[Booked]
