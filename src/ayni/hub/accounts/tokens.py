"""Tokens: random secrets, of which only the SHA-256 is kept, and who stands behind a request.

Every request asks the database, so that a ban, a revocation or an expiry takes effect at once.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta

from django.db.models import Exists, OuterRef, Q
from django.http import HttpRequest
from django.utils import timezone

from ayni.errors import UserError
from ayni.hub.accounts import quick
from ayni.hub.accounts.models import Person, Token
from ayni.hub.calls.models import Membership, Project
from ayni.hub.http import ProblemError
from ayni.hub.network.models import Site

SCOPES = ("tasks:read", "tasks:write", "store:read", "store:write")
PREFIX = "ayni_"
SITE_DAYS = 3650
CODE_HOURS = 24
CHALLENGE = 'Bearer realm="ayni", Basic realm="ayni"'


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: a person in a project."""

    token: Token
    person: Person
    project: Project
    scopes: frozenset[str]


def digest(secret: str) -> str:
    """What is kept of a secret."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def new_secret() -> str:
    """`ayni_` and 43 url-safe characters: 256 random bits."""
    return PREFIX + secrets.token_urlsafe(32)


def issue_person_token(
    person: Person,
    project: Project,
    scopes: Collection[str] = SCOPES,
    days: float = 90,
    label: str = "",
) -> str:
    """A new token for one person in one project; the secret is shown now and never again.

    Raises:
        UserError: an unknown scope, or the person is not in the project.
    """
    if unknown := set(scopes) - set(SCOPES):
        raise UserError(f"unknown scopes {sorted(unknown)}; known are {', '.join(SCOPES)}")
    if not Membership.objects.filter(person=person, project=project).exists():
        raise UserError(f"{person.email} is not in project {project.name}; add them first")
    secret = new_secret()
    Token.objects.create(
        digest=digest(secret),
        label=label,
        person=person,
        project=project,
        scopes=" ".join(s for s in SCOPES if s in scopes),
        expires=timezone.now() + timedelta(days=days),
    )
    return secret


def issue_site_code(site: Site) -> str:
    """A new code with which the site's agent registers, once, within `CODE_HOURS`."""
    secret = new_secret()
    site.code_digest = digest(secret)
    site.code_expires = timezone.now() + timedelta(hours=CODE_HOURS)
    site.save(update_fields=["code_digest", "code_expires"])
    return secret


def issue_site_token(site: Site) -> str:
    """A new key for a site; its earlier keys are revoked."""
    secret = new_secret()
    now = timezone.now()
    Token.objects.filter(site=site, revoked=None).update(revoked=now)
    Token.objects.create(
        digest=digest(secret), site=site, scopes="", expires=now + timedelta(days=SITE_DAYS)
    )
    return secret


def caller(request: HttpRequest, *scopes: str) -> Caller:
    """The person and project behind a request that needs `scopes`.

    Raises:
        ProblemError: 401 no valid token; 403 a ban, a site's token, or a scope is missing.
    """
    found = getattr(request, "auth", None)  # our API has asked already: see accounts.auth
    if isinstance(found, Caller):
        return _require(found, scopes)
    kept = digest(_secret(request.headers.get("Authorization", "")))
    if quickly := quick.find(kept):
        token, person, project = quickly
        return _require(Caller(token, person, project, frozenset(token.scopes.split())), scopes)
    return admit(valid_token(digest=kept), *scopes)


def admit(token: Token, *scopes: str) -> Caller:
    """The person and project behind a token that `valid_token` found; as `caller`."""
    person, project = token.person, token.project
    if person is None or project is None:
        raise ProblemError(403, "Wrong kind of token", "use a token of a person in a project")
    if not token.in_project:  # type: ignore[attr-defined]
        raise ProblemError(403, "Not in the project", f"you are no longer in {project.name}")
    if person.banned_at:
        raise _banned("you", person.banned_why)
    if project.banned_at:
        raise _banned(f"project {project.name}", project.banned_why)
    return _require(Caller(token, person, project, frozenset(token.scopes.split())), scopes)


def _require(who: Caller, scopes: Collection[str]) -> Caller:
    missing = " ".join(scope for scope in scopes if scope not in who.scopes)
    if missing:
        raise ProblemError(
            403,
            "The token may not do this",
            f"it lacks the scope {missing}; ask for a token that has it",
            headers={
                "WWW-Authenticate": 'Bearer realm="ayni", error="insufficient_scope", '
                f'scope="{missing}"'
            },
        )
    return who


def _banned(whom: str, why: str) -> ProblemError:
    return ProblemError(
        403, "Banned", f"{whom} may not use the network: {why or 'no reason given'}"
    )


def banned_site(site_id: int) -> ProblemError:
    """What a site is told that was banned, or removed, while it waited for an answer."""
    site = Site.objects.filter(pk=site_id).first()
    if site is None:
        return ProblemError(403, "No such site", "the site is gone; register it again")
    return _banned(f"site {site.name}", site.banned_why)


def site_caller(request: HttpRequest) -> Site:
    """The site whose agent asks.

    Raises:
        ProblemError: 401 no valid key; 403 the site is banned, or the token is a person's.
    """
    site = holder(request.headers.get("Authorization", "")).site
    if site is None:
        raise ProblemError(403, "Wrong kind of token", "agents use their site's key")
    if site.banned_at:
        raise _banned(f"site {site.name}", site.banned_why)
    return site


def holder(header: str) -> Token:
    """The token in an Authorization header; as `valid_token`."""
    return valid_token(digest=digest(_secret(header)))


def _secret(header: str) -> str:
    secret = presented(header)
    if secret is None:
        raise _unauthorized("send a token: 'Authorization: Bearer …', or Basic with it as password")
    return secret


def valid_token(**by: object) -> Token:
    """The token with this digest (or primary key), with all that it belongs to.

    Raises:
        ProblemError: 401 it is unknown, revoked or expired.
    """
    membership = Membership.objects.filter(project=OuterRef("project"), person=OuterRef("person"))
    token = (
        Token.objects.select_related(
            "person__institution__member", "project__institution__member", "site__institution"
        )
        .annotate(in_project=Exists(membership))
        .filter(Q(person=None) | Q(person__is_active=True), **by)
        .first()
    )
    if token is None:
        raise _unauthorized("the token is not known; make a new one")
    if token.revoked is not None:
        raise _unauthorized("the token was revoked; make a new one")
    if token.expires <= timezone.now():
        raise _unauthorized(f"the token expired on {token.expires:%Y-%m-%d}; make a new one")
    return token


def presented(header: str) -> str | None:
    """The secret in an Authorization header: Bearer, or the password of Basic (RFC 7617)."""
    kind, _, value = header.strip().partition(" ")
    value = value.strip()
    if kind.lower() == "bearer":
        return value or None
    if kind.lower() != "basic":
        return None
    try:
        pair = base64.b64decode(value, validate=True).decode()
    except (binascii.Error, ValueError):
        return None
    return pair.partition(":")[2] or None


def _unauthorized(detail: str) -> ProblemError:
    return ProblemError(401, "Not signed in", detail, headers={"WWW-Authenticate": CHALLENGE})
