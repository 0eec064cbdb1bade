"""A small alliance made within the process: for tests, benches and first steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ayni.hub.accounts.models import Person
from ayni.hub.accounts.tokens import issue_site_token
from ayni.hub.apply import apply
from ayni.hub.calls.models import Project
from ayni.hub.network.models import Site

MEMBERS = (("CL", "Chile"), ("MX", "México"), ("CO", "Colombia"))


@dataclass(frozen=True, slots=True)
class Seeded:
    """What was made. `site_keys` by the sites' names."""

    person: Person
    project: Project
    token: str
    sites: tuple[Site, ...]
    site_keys: dict[str, str]


def document(sites: int = 3) -> dict[str, Any]:
    """The alliance as a document for `apply`: a site to a member, in turn."""
    places = [MEMBERS[n % len(MEMBERS)] for n in range(sites)]
    return {
        "members": [{"code": code, "name": name} for code, name in MEMBERS],
        "institutions": [{"name": f"Centro de {n}", "member": code} for code, n in MEMBERS],
        "people": [
            {"email": "ana@example.org", "name": "Ana Rojas", "institution": "Centro de Chile"}
        ],
        "projects": [
            {
                "name": "prueba",
                "title": "Prueba",
                "institution": "Centro de Chile",
                "people": ["ana@example.org"],
            }
        ],
        "tokens": [{"label": "seed", "person": "ana@example.org", "project": "prueba"}],
        "sites": [
            {"name": f"sitio-{n}", "title": f"Sitio {n}", "institution": f"Centro de {name}"}
            for n, (_, name) in enumerate(places)
        ],
    }


def seed(sites: int = 3) -> Seeded:
    """Make the alliance with keys for its sites; may be repeated."""
    made = apply(document(sites))
    rows = tuple(Site.objects.filter(name__startswith="sitio-").order_by("name"))
    return Seeded(
        person=Person.objects.get(email="ana@example.org"),
        project=Project.objects.get(name="prueba"),
        token=made["tokens"]["seed"],
        sites=rows,
        site_keys={row.name: issue_site_token(row) for row in rows},
    )
