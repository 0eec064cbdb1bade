"""An alliance from one document: members, institutions, people, projects, tokens, sites.

Applying is repeatable: what exists is brought up to date by its name, nothing is removed, and tokens
are issued anew each time (only their hashes are kept, so an old one cannot be shown again).
"""

from __future__ import annotations

from typing import Any

from django.db import transaction
from pydantic import ConfigDict, Field, ValidationError

from ayni.errors import UserError
from ayni.hub.accounts.models import Institution, Member, Person
from ayni.hub.accounts.tokens import SCOPES, issue_person_token, issue_site_code
from ayni.hub.calls.models import Membership, Project
from ayni.hub.names import check_name
from ayni.hub.network.models import Site
from ayni.protocol.policy import Model


class Item(Model):
    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)


class MemberItem(Item):
    code: str = Field(pattern=r"^[A-Z]{2}$")
    name: str


class InstitutionItem(Item):
    name: str
    member: str
    ror: str = ""


class PersonItem(Item):
    email: str = Field(pattern=r"^[^@\s]+@[^@\s]+$")
    name: str
    institution: str
    orcid: str = ""


class ProjectItem(Item):
    name: str
    title: str
    institution: str
    people: list[str] = []
    quota: int | None = Field(default=None, ge=0)
    weight: float = Field(default=1.0, gt=0)


class TokenItem(Item):
    label: str
    person: str
    project: str
    scopes: list[str] = list(SCOPES)
    days: float = Field(default=90, gt=0)


class SiteItem(Item):
    name: str
    title: str
    institution: str
    latitude: float | None = Field(default=None, ge=-90, le=90)
    longitude: float | None = Field(default=None, ge=-180, le=180)


class Alliance(Item):
    members: list[MemberItem] = []
    institutions: list[InstitutionItem] = []
    people: list[PersonItem] = []
    projects: list[ProjectItem] = []
    tokens: list[TokenItem] = []
    sites: list[SiteItem] = []


def apply(document: Any) -> dict[str, dict[str, str]]:
    """Bring the hub in line with the document.

    Returns:
        `{"tokens": {label: secret}, "codes": {site: registration code}}`; codes only for sites that
        no agent speaks for yet.

    Raises:
        UserError: the document is malformed or names what does not exist; nothing was changed.
    """
    try:
        alliance = Alliance.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UserError(f"{where}: {first['msg']}") from error
    with transaction.atomic():
        return _apply(alliance)


def _apply(alliance: Alliance) -> dict[str, dict[str, str]]:
    for m in alliance.members:
        Member.objects.update_or_create(code=m.code, defaults={"name": m.name})
    for i in alliance.institutions:
        member = _named(Member, "code", i.member, "members")
        Institution.objects.update_or_create(name=i.name, defaults={"member": member, "ror": i.ror})
    for p in alliance.people:
        institution = _named(Institution, "name", p.institution, "institutions")
        Person.objects.update_or_create(
            email=p.email.lower(),
            defaults={"name": p.name, "institution": institution, "orcid": p.orcid},
        )
    for project in alliance.projects:
        _project(project)
    tokens = {
        t.label: issue_person_token(
            _named(Person, "email", t.person.lower(), "people"),
            _named(Project, "name", t.project, "projects"),
            t.scopes,
            t.days,
            t.label,
        )
        for t in alliance.tokens
    }
    return {"tokens": tokens, "codes": dict(_site(s) for s in alliance.sites if not _taken(s))}


def _named(model: Any, field: str, value: str, section: str) -> Any:
    found = model.objects.filter(**{field: value}).first()
    if found is None:
        raise UserError(
            f"{section}: there is no {value!r}; add it to the document before it is used"
        )
    return found


def _project(item: ProjectItem) -> None:
    check_name(item.name, Site, where="projects: ")
    fields: dict[str, Any] = {
        "title": item.title,
        "institution": _named(Institution, "name", item.institution, "institutions"),
        "weight": item.weight,
    }
    if item.quota is not None:
        fields["quota"] = item.quota
    project, _ = Project.objects.update_or_create(name=item.name, defaults=fields)
    for email in item.people:
        person = _named(Person, "email", email.lower(), "people")
        Membership.objects.get_or_create(project=project, person=person)


def _taken(item: SiteItem) -> bool:
    return Site.objects.filter(name=item.name).exclude(incarnation=None).exists()


def _site(item: SiteItem) -> tuple[str, str]:
    check_name(item.name, Project, where="sites: ")
    site, _ = Site.objects.update_or_create(
        name=item.name,
        defaults={
            "title": item.title,
            "institution": _named(Institution, "name", item.institution, "institutions"),
            "latitude": item.latitude,
            "longitude": item.longitude,
        },
    )
    return item.name, issue_site_code(site)
