"""GET /me: who the token stands for."""

from __future__ import annotations

from datetime import datetime

from django.db.models import Sum
from django.http import HttpRequest
from ninja import Router, Schema

from ayni.hub.accounts.tokens import caller
from ayni.hub.store.models import File
from ayni.hub.tasks.notices import webhook_key

router = Router(tags=["account"])


class PersonOut(Schema):
    name: str
    email: str
    institution: str
    member: str


class ProjectOut(Schema):
    name: str
    title: str
    member: str
    quota: int  # bytes
    used: int  # bytes
    webhook_key: str | None  # what its webhooks are signed with; for who may send tasks


class Me(Schema):
    person: PersonOut
    project: ProjectOut
    scopes: list[str]
    expires: datetime


@router.get("/me", response=Me, summary="Who am I?")
def me(request: HttpRequest) -> Me:
    """The person and the project of the token, and what it may do."""
    who = caller(request)
    person, project = who.person, who.project
    used = File.objects.filter(project=project).aggregate(used=Sum("size"))["used"] or 0
    return Me(
        person=PersonOut(
            name=person.name,
            email=person.email,
            institution=person.institution.name if person.institution else "",
            member=person.institution.member_id if person.institution else "",
        ),
        project=ProjectOut(
            name=project.name,
            title=project.title,
            member=project.institution.member_id,
            quota=project.quota,
            used=used,
            webhook_key=webhook_key(project) if "tasks:write" in who.scopes else None,
        ),
        scopes=sorted(who.scopes),
        expires=who.token.expires,
    )
