"""Who stands behind a request."""

from __future__ import annotations

import base64

import pytest
from django.test import RequestFactory
from django.utils import timezone

from ayni.errors import UserError
from ayni.hub.accounts.models import Token
from ayni.hub.accounts.tokens import caller, issue_person_token, issue_site_token, site_caller
from ayni.hub.http import ProblemError

from . import factories as make

pytestmark = pytest.mark.django_db


def request(header: str | None):
    headers = {} if header is None else {"Authorization": header}
    return RequestFactory().get("/", headers=headers)


def status(header: str | None, *scopes: str) -> int:
    with pytest.raises(ProblemError) as caught:
        caller(request(header), *scopes)
    return caught.value.status


def test_a_token_stands_for_one_person_in_one_project():
    someone, project = make.person(), make.project()
    who = caller(request("Bearer " + make.token(someone, project)), "tasks:read")
    assert (who.person, who.project) == (someone, project)


def test_basic_takes_the_token_as_the_password():
    secret = make.token()
    pair = base64.b64encode(f"anyone:{secret}".encode()).decode()
    assert caller(request(f"Basic {pair}")).token.digest


def test_only_the_hash_of_a_secret_is_kept():
    secret = make.token()
    kept = Token.objects.values().get()
    assert len(secret) == 48 and secret.startswith("ayni_")
    assert secret not in str(kept) and secret[5:] not in str(kept)


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer x",
        "Digest x",
        "Basic !!!",
        "Basic Og==",
        "Basic //8=",
        "Bearer \x00é",
        "Basic Tm9uZTpOb25l",
    ],
)
def test_without_a_known_token_the_answer_is_401_with_a_challenge(header):
    with pytest.raises(ProblemError) as caught:
        caller(request(header))
    assert caught.value.status == 401
    assert "Bearer" in caught.value.response()["WWW-Authenticate"]


def test_an_expired_token_is_refused():
    assert status("Bearer " + make.token(days=-1)) == 401


def test_a_revoked_token_is_refused():
    secret = make.token()
    make.revoke(secret)
    assert status("Bearer " + secret) == 401


def test_a_ban_of_the_person_takes_effect_at_once():
    someone = make.person()
    secret = make.token(someone)
    caller(request("Bearer " + secret))
    someone.banned_at = timezone.now()
    someone.save()
    assert status("Bearer " + secret) == 403


def test_a_ban_of_the_project_takes_effect_at_once():
    project = make.project(banned_at=timezone.now(), banned_why="mining")
    assert status("Bearer " + make.token(None, project)) == 403


def test_whoever_left_the_project_is_refused():
    someone = make.person()
    secret = make.token(someone)
    someone.memberships.all().delete()
    assert status("Bearer " + secret) == 403


def test_a_missing_scope_is_refused_and_named():
    secret = make.token(scopes=["tasks:read"])
    with pytest.raises(ProblemError, match="tasks:write"):
        caller(request("Bearer " + secret), "tasks:write")


def test_a_sites_key_opens_no_persons_door_and_the_other_way_round():
    assert status("Bearer " + make.site_token()) == 403
    with pytest.raises(ProblemError) as caught:
        site_caller(request("Bearer " + make.token()))
    assert caught.value.status == 403


def test_a_banned_site_is_refused():
    banned = make.site(banned_at=timezone.now())
    with pytest.raises(ProblemError) as caught:
        site_caller(request("Bearer " + make.site_token(banned)))
    assert caught.value.status == 403


def test_a_sites_new_key_revokes_its_old_one():
    site = make.site()
    old, new = issue_site_token(site), issue_site_token(site)
    assert site_caller(request("Bearer " + new)) == site
    with pytest.raises(ProblemError):
        site_caller(request("Bearer " + old))


def test_a_token_is_issued_only_to_somebody_in_the_project():
    with pytest.raises(UserError, match="not in project"):
        issue_person_token(make.person(), make.project())


def test_an_unknown_scope_is_refused_when_a_token_is_issued():
    with pytest.raises(UserError, match="known are"):
        make.token(scopes=["tasks:admin"])
