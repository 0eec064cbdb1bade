"""The caller of a good token in one plain query. The ORM takes longer to write it than SQLite to run it.

Whoever is not found here is asked about again by `tokens.valid_token`, which says what is wrong.
"""

from __future__ import annotations

from typing import Any

from django.db import connection, models
from django.utils import timezone

from ayni.hub.accounts.models import Institution, Person, Token
from ayni.hub.calls.models import Project

# What is read of each, in the order of its fields; the rest is read when it is touched.
_READ: tuple[tuple[str, type[models.Model], tuple[str, ...]], ...] = (
    ("t", Token, ("id", "label", "person_id", "project_id", "scopes")),
    ("p", Person, ("id", "email", "name", "institution_id", "language")),
    ("i", Institution, ("id", "name", "member_id")),
    (
        "q",
        Project,
        ("id", "name", "title", "institution_id", "weight", "quota", "retention"),
    ),
    ("j", Institution, ("id", "name", "member_id")),
)
_COLUMNS = ", ".join(f"{alias}.{name}" for alias, _, names in _READ for name in names)
_FIND = f"""
SELECT {_COLUMNS}
FROM accounts_token t
JOIN accounts_person p ON p.id = t.person_id
JOIN calls_project q ON q.id = t.project_id
JOIN accounts_institution j ON j.id = q.institution_id
LEFT JOIN accounts_institution i ON i.id = p.institution_id
WHERE t.digest = %s AND t.revoked IS NULL AND t.expires > %s
  AND p.is_active AND p.banned_at IS NULL AND q.banned_at IS NULL
  AND EXISTS (
    SELECT 1 FROM calls_membership m WHERE m.project_id = q.id AND m.person_id = p.id
  )
"""  # noqa: S608


def find(digest: str) -> tuple[Token, Person, Project] | None:
    """The token, its person and its project, if all three may use the network now."""
    now = connection.ops.adapt_datetimefield_value(timezone.now())
    with connection.cursor() as cursor:
        cursor.execute(_FIND, [digest, now])
        row = cursor.fetchone()
    return None if row is None else _made(row)


def _made(row: tuple[Any, ...]) -> tuple[Token, Person, Project]:
    made: dict[str, Any] = {}
    at = 0
    for alias, model, names in _READ:
        values = row[at : at + len(names)]
        at += len(names)
        made[alias] = None if values[0] is None else model.from_db("default", names, values)
    token, person, project = made["t"], made["p"], made["q"]
    person.institution, project.institution = made["i"], made["j"]
    token.person, token.project = person, project
    return token, person, project
