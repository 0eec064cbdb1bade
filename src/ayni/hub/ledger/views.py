"""`POST /agent/v1/books`: what is booked of a site's jobs, for its operator to compare."""

from __future__ import annotations

from datetime import UTC, datetime

from django.db.models import Count, Sum
from django.http import HttpRequest, HttpResponse
from pydantic import ValidationError

from ayni.hub.http import invalid, json_body, methods
from ayni.hub.ledger.models import UsageRecord
from ayni.hub.network import peer
from ayni.protocol.books import Booked, BooksReply, BooksRequest

_MAX_BODY = 256 << 10  # bytes


def _books(request: HttpRequest) -> HttpResponse:
    """The site's own records only, summed by job."""
    site = peer.site_of(request)
    try:
        asked = BooksRequest.model_validate_json(json_body(request, _MAX_BODY))
    except ValidationError as error:
        raise invalid(error) from error
    wanted = {(key.job, datetime.fromtimestamp(key.submitted, UTC)) for key in asked.jobs}
    rows = (
        UsageRecord.objects.filter(
            site=site, allocated=True, job__in={job for job, _ in wanted}, submitted__isnull=False
        )
        .values("job", "submitted")
        .annotate(
            attempts=Count("id"),
            core=Sum("core_seconds"),
            node=Sum("node_seconds"),
            gpu=Sum("gpu_seconds"),
        )
    )
    found = [
        Booked(
            job=row["job"],
            submitted=when.timestamp(),
            attempts=row["attempts"],
            core_seconds=row["core"],
            node_seconds=row["node"],
            gpu_seconds=row["gpu"],
        )
        for row in rows
        if (when := row["submitted"]) is not None and (row["job"], when) in wanted
    ]
    return HttpResponse(BooksReply(jobs=found).model_dump_json(), content_type="application/json")


books = methods(POST=_books)
